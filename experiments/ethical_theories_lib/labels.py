"""Labels of games' options by the raters, and their agreement with the stories' own labels and each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from console import say

from ethical_theories_lib.data import Side
from ethical_theories_lib.games import (
    STORIES,
    LabelGame,
    oracle_trajectories,
    scenes_of,
)
from ethical_theories_lib.rating import rater_folder, scores_file
from ethical_theories_lib.words import FORMS, Form, reward_of
from pluralign.annotate.agreement import CONFIDENCE
from pluralign.annotate.annotator import annotate_comparisons
from pluralign.annotate.label_agreement import label_agreement
from pluralign.annotate.options import compare_options
from pluralign.annotate.oracle import Oracle
from pluralign.annotate.rater import Rating
from pluralign.core import Annotation, Comparison, Objective, Segment, Trajectory
from pluralign.core.files import read_json
from pluralign.core.preference import Preference
from pluralign.core.records import read_annotations
from pluralign.games.harms import VIOLATIONS
from pluralign.games.state_graph import explore
from pluralign.rewards.identity import reward_provenance

ALL_PAIRS = 1_000_000
RESAMPLES = 2000
LENGTH = "length"
"""Name of the baseline that reads no words: the shorter, or the longer option is better."""
POOLED = "the four stories"
Values = Mapping[str, Sequence[float]]
"""Rewards of a decision's options, by the decision's key."""


class TheoryRater:
    """A rater of one's own: rewards of the options, computed once per text.

    Args:
        name: Name of the theory.
        values: Rewards of the options.
        settings: Provenance of the rewards.
    """

    batch = 4096

    def __init__(self, name: str, values: Values, settings: Mapping[str, Any]) -> None:
        self.name, self.settings, self._values = f"reward:{name}", settings, values

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """The option with the higher reward is better."""
        ratings: list[Rating | None] = []
        for comparison in comparisons:
            a, b = self._of(comparison.first), self._of(comparison.second)
            better: Preference = "tie" if a == b else "first" if a > b else "second"
            ratings.append(Rating(better, {"rewards": [a, b]}))
        return ratings

    def _of(self, segment: Segment) -> float:
        (step,) = segment.steps
        return self._values[step.decision.key][step.action]


def read_rewards(out: Path, rater: str, seed: int) -> dict[Side, float]:
    """A rater's rewards of the games' texts."""
    rows = read_json(scores_file(out, rater, seed))["rewards"]
    return {Side(prompt, completion): float(reward) for prompt, completion, reward in rows}


def option_values(game: LabelGame, form: Form, rewards: Mapping[Side, float]) -> Values:
    """Rewards of all options of a game in one form."""
    return {
        d.key: [reward_of(form(d.prompt, option), rewards) for option in d.options] for d in game.decisions
    }


def label_file(out: Path, game: str, rater: str, seed: int, form: str) -> Path:
    """File of a rater's annotations of a game's options."""
    return out / "labels" / f"{game}-{rater}-{seed}-{form.replace(' ', '_')}.jsonl"


def compared(game: LabelGame) -> tuple[list[Trajectory], list[Comparison]]:
    """All pairs of options of a game, and trajectories that took each option."""
    known = list(game.known) or oracle_trajectories(explore(game.story.make_game()))
    return known, compare_options(known, count=ALL_PAIRS, seed=0)


def annotate_games(out: Path, games: Sequence[LabelGame], raters: Sequence[str], seed: int) -> None:
    """Write every rater's annotations of every game's options, in every form."""
    for game in games:
        _, comparisons = compared(game)
        for rater in raters:
            rewards = read_rewards(out, rater, seed)
            card = reward_provenance(str(rater_folder(out, rater, seed)))
            for name, form in FORMS[rater].items():
                values = option_values(game, form, rewards)
                annotate_comparisons(
                    comparisons, label_file(out, game.name, rater, seed, name), theory_objective(rater),
                    TheoryRater(rater, values, {"form": name, "card": card}), progress=False,
                )  # fmt: skip


def theory_objective(rater: str) -> Objective:
    """The objective of a theory's labels."""
    return Objective(rater, f"What {rater} holds to be right, by a rater that learned it from people.")


def annotate_lengths(out: Path, games: Sequence[LabelGame]) -> None:
    """Write the annotations of the baseline that only sees how long an option is."""
    for game in games:
        _, comparisons = compared(game)
        for form, sign in (("shorter", -1.0), ("longer", 1.0)):
            values = {d.key: [sign * len(option) for option in d.options] for d in game.decisions}
            annotate_comparisons(
                comparisons, label_file(out, game.name, LENGTH, 0, form), theory_objective(LENGTH),
                TheoryRater(LENGTH, values, {"form": form}), progress=False,
            )  # fmt: skip


def agree_with_stories(
    out: Path, games: Sequence[LabelGame], raters: Sequence[str], seed: int
) -> dict[str, dict[str, Any]]:
    """Agreement of each rater and form with the stories' harms: by story and pooled, and by harm."""
    found: dict[str, dict[str, Any]] = {}
    stories = [game for game in games if game.name in STORIES]
    both = {game.name: compared(game) for game in stories}
    known = {name: trajectories for name, (trajectories, _) in both.items()}
    pooled = [replace(t, id=f"{name}-{t.id}") for name, own in known.items() for t in own]
    info = stories[0].story.info
    harms = [info.objective("harm_avoidance"), *(info.objective(f"no_{v}") for v in VIOLATIONS)]
    everything = [comparison for _, comparisons in both.values() for comparison in comparisons]
    truths = {harm.name: truths_of(pooled, everything, harm) for harm in harms}
    harm, scenes = harms[0], scenes_of(stories)
    for rater in (*raters, LENGTH):
        for form in FORMS.get(rater, ("shorter", "longer")):
            own = 0 if rater == LENGTH else seed
            files = {g.name: read_annotations(label_file(out, g.name, rater, own, form)) for g in stories}
            together = [annotation for own in files.values() for annotation in own]
            row: dict[str, Any] = {
                name: _agreement(own, known.get(name, pooled), harm, truths[harm.name], scenes)
                for name, own in {**files, POOLED: together}.items()
            }
            row["by harm"] = {
                h.name: {"balanced": balanced(together, truths[h.name], scenes)} for h in harms[1:]
            }
            found.setdefault(rater, {})[form] = row
            right, even = row[POOLED]["right"], row[POOLED]["balanced"]
            say(
                f"  {rater}, {form}: right in {100 * right['share']:.1f} % of {right['comparisons']}, "
                f"balanced {100 * even['share']:.1f} ({100 * even['low']:.1f} to {100 * even['high']:.1f})"
            )
    return found


def truths_of(
    known: Sequence[Trajectory], comparisons: Sequence[Comparison], objective: Objective
) -> dict[str, Preference]:
    """The labels' preference in each comparison, by its id; ties are left out."""
    ratings = Oracle(known).rate(comparisons, objective)
    return {
        comparison.id: rating.preference
        for comparison, rating in zip(comparisons, ratings, strict=True)
        if rating is not None and rating.preference != "tie"
    }


def _agreement(
    annotations: Sequence[Annotation], known: Sequence[Trajectory], objective: Objective,
    truths: Mapping[str, Preference], scenes: Mapping[str, str],
) -> dict[str, Any]:  # fmt: skip
    """Kappa without ties, and the share of right answers, with intervals."""
    of_objective = [replace(a, objective=objective.name) for a in annotations]
    found = label_agreement(of_objective, known, objective)
    if found is None or found.right is None:
        return {"right": None, "kappa": None, "balanced": None}
    kappa = found.agreement.without_ties
    return {
        "right": asdict(found.right),
        "kappa": None if kappa is None else asdict(kappa),
        "balanced": balanced(annotations, truths, scenes),
    }


def balanced(
    annotations: Sequence[Annotation], truths: Mapping[str, Preference], scenes: Mapping[str, str]
) -> dict[str, float | int] | None:
    """Mean of two shares of right answers: where the better option is the shorter one, and where it is the
    longer one.

    In a story the less harmful option may more often be the shorter or the longer one, so that length alone
    is right in up to 64 % of a story's pairs; of this mean it has exactly one half. Whole scenes are
    resampled for the interval.
    """
    sums: dict[str, list[float]] = {}
    for annotation in annotations:
        truth = truths.get(annotation.comparison.id)
        if truth is None:
            continue
        first, second = annotation.comparison.first.steps[0], annotation.comparison.second.steps[0]
        better, worse = (first, second) if truth == "first" else (second, first)
        difference = len(better.decision.options[better.action]) - len(worse.decision.options[worse.action])
        if difference:
            answer = annotation.preference
            worth = 0.5 if answer == "tie" else float(answer == truth)
            row = sums.setdefault(scenes[better.decision.key], [0.0] * 4)
            longer = 2 * (difference > 0)
            row[longer] += worth
            row[longer + 1] += 1
    table = np.array(list(sums.values()))
    if not len(table) or not (table.sum(axis=0)[[1, 3]] > 0).all():
        return None
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(table), np.full(len(table), 1 / len(table)), size=RESAMPLES) @ table
    shares = (drawn[:, 0] / np.maximum(drawn[:, 1], 1) + drawn[:, 2] / np.maximum(drawn[:, 3], 1)) / 2
    low, high = np.quantile(shares, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    total = table.sum(axis=0)
    share = (total[0] / total[1] + total[2] / total[3]) / 2
    return {
        "share": float(share), "low": float(low), "high": float(high), "better shorter": int(total[1]),
        "better longer": int(total[3]), "scenes": len(table),
    }  # fmt: skip


def value_table(values: Values) -> dict[str, np.ndarray[Any, Any]]:
    """The share of the other options that an option beats, from -1 to 1, as `games.labelled` counts it."""
    table: dict[str, np.ndarray[Any, Any]] = {}
    for key, rewards in values.items():
        own = np.asarray(rewards, dtype=np.float64)
        wins = np.sign(own[:, None] - own[None, :]).sum(axis=1)
        table[key] = wins / max(1, len(own) - 1)
    return table
