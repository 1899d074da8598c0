"""How the labels of a theory differ between trainings of its rater, and ties within its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from ethical_theories_lib.games import STORIES, LabelGame, scenes_of
from ethical_theories_lib.labels import (
    POOLED,
    TheoryRater,
    Values,
    balanced,
    compared,
    option_values,
    read_rewards,
    theory_objective,
    truths_of,
)
from ethical_theories_lib.mutual import kappa_over_scenes
from ethical_theories_lib.words import FORMS
from pluralign.core import Annotation, Comparison, Trajectory
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json
from pluralign.core.preference import Preference


def across_trainings(
    out: Path, games: Sequence[LabelGame], theories: Sequence[str], seeds: Sequence[int],
    forms: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:  # fmt: skip
    """Accuracy on test pairs, balanced share and kappa of each theory's trainings, and of their mean, where
    differences within its uncertainty are ties.

    Args:
        out: Working folder.
        games: The stories.
        theories: Names of the theories.
        seeds: Random seeds of the trainings.
        forms: Form in which each rater reads the options of each story, by rater and story.
    """
    stories = [game for game in games if game.name in STORIES]
    both = {game.name: compared(game) for game in stories}
    scenes = scenes_of(stories)
    harm = stories[0].story.info.objective("harm_avoidance")
    truths = truths_of(_pooled(both), [c for _, own in both.values() for c in own], harm)
    found: dict[str, Any] = {}
    for theory in theories:
        values = {
            seed: _values(out, stories, theory, forms[theory], seed) for seed in seeds
        }  # fmt: skip
        labels = {
            seed: {name: _labels(theory, own, values[seed]) for name, (_, own) in both.items()}
            for seed in seeds
        }
        together = {seed: [a for own in labels[seed].values() for a in own] for seed in seeds}
        found[theory] = {
            "seeds": list(seeds),
            "test": [read_json(_figures(out, theory, s))["test"]["rater"]["value"] for s in seeds],
            "balanced": {
                **{name: [_share(labels[s][name], truths, scenes) for s in seeds] for name in both},
                POOLED: [_share(together[s], truths, scenes) for s in seeds],
            },
            "kappa": {
                f"{a} and {b}": kappa_over_scenes(together[a], together[b], scenes)
                for a, b in combinations(seeds, 2)
            },
            "mean of trainings": _decided(theory, values, both, truths, scenes),
        }
    return found


def within_uncertainty(first: float, second: float, sigmas: tuple[float, float]) -> Preference:
    """Preference between two rewards; a tie if they differ by at most the standard deviation of the
    difference (as `RewardRater` with ``tie_sigmas=1``)."""
    if abs(first - second) <= float(np.hypot(*sigmas)):
        return "tie"
    return "first" if first > second else "second"


def mean_and_sigma(trainings: Sequence[Values]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Mean and standard deviation over trainings of each option's reward, by the decision's key, after each
    training's rewards have mean 0 and deviation 1 over all options, as in an ensemble."""
    every = [np.concatenate([np.asarray(own) for own in values.values()]) for values in trainings]
    stacked = {
        key: np.stack(
            [
                (np.asarray(values[key]) - whole.mean()) / whole.std()
                for values, whole in zip(trainings, every, strict=True)
            ]
        )
        for key in trainings[0]
    }
    return (
        {key: rows.mean(axis=0) for key, rows in stacked.items()},
        {key: rows.std(axis=0) for key, rows in stacked.items()},
    )


def _figures(out: Path, theory: str, seed: int) -> Path:
    return out / "figures" / f"{theory}-{seed}.json"


def _pooled(both: Mapping[str, tuple[list[Trajectory], list[Comparison]]]) -> list[Trajectory]:
    return [replace(t, id=f"{name}-{t.id}") for name, (own, _) in both.items() for t in own]


def _values(
    out: Path, stories: Sequence[LabelGame], theory: str, forms: Mapping[str, str], seed: int
) -> dict[str, Sequence[float]]:
    rewards = read_rewards(out, theory, seed)
    return {
        key: own
        for game in stories
        for key, own in option_values(game, FORMS[theory][forms[game.name]], rewards).items()
    }


def _labels(theory: str, comparisons: Sequence[Comparison], values: Values) -> list[Annotation]:
    rater, objective = TheoryRater(theory, values, {}), theory_objective(theory)
    rated = rater.rate(comparisons, objective)
    return [
        Annotation(comparison, theory, rater.name, rating.preference)
        for comparison, rating in zip(comparisons, rated, strict=True)
        if rating is not None
    ]


def _share(
    labels: Sequence[Annotation], truths: Mapping[str, Preference], scenes: Mapping[str, str]
) -> float | None:
    found = balanced(labels, truths, scenes)
    return None if found is None else float(found["share"])


def _decided(
    theory: str, values: Mapping[int, Values], both: Mapping[str, tuple[list[Trajectory], list[Comparison]]],
    truths: Mapping[str, Preference], scenes: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """The mean of the standardised trainings: all pairs, and those that differ by more than its uncertainty,
    the trainings' standard deviation (`rewards.ensemble`)."""
    means, sigmas = mean_and_sigma(list(values.values()))
    every = [comparison for _, own in both.values() for comparison in own]
    labels: list[Annotation] = []
    for comparison in every:
        one, other = (segment.steps[0] for segment in (comparison.first, comparison.second))
        key, a, b = one.decision.key, one.action, other.action
        preference = within_uncertainty(
            float(means[key][a]), float(means[key][b]), (float(sigmas[key][a]), float(sigmas[key][b]))
        )
        labels.append(Annotation(comparison, theory, "mean", preference))
    of_truths = [label for label in labels if label.comparison.id in truths]
    decided = [label for label in of_truths if label.preference != "tie"]
    plain = _labels(theory, every, {key: rows.tolist() for key, rows in means.items()})
    return {
        "all": balanced(plain, truths, scenes),
        "ties": 1 - len(decided) / len(of_truths),
        "decided": balanced(decided, truths, scenes),
    }
