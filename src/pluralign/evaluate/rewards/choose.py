"""Weighted best-of-N of completions in a file: the best one per prompt by a weighted sum of rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pluralign.core import InputError, OptionRewards, SteeringWeights
from pluralign.core.files import write_text
from pluralign.data.answers import Answers, AnswerSet
from pluralign.evaluate.rewards.scored import Scorer, read_sigmas, score_sources
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.ensemble import scale_of
from pluralign.steer.best_of_n import check_lower_bound, weigh

_DRAWS = "draws"


@dataclass(frozen=True, eq=False)
class Chosen:
    """Result of weighted best-of-N.

    Attributes:
        answers: Completions of each prompt.
        rewards: Rewards of each prompt's completions, by objective.
        scales: Standard deviation that divides each objective's rewards; empty for raw rewards.
        weighted: Weighted reward of each prompt's completions.
        weights: Weights of the objectives.
    """

    answers: Sequence[Answers]
    rewards: Mapping[str, Sequence[OptionRewards]]
    scales: Mapping[str, float]
    weighted: Sequence[OptionRewards]
    weights: SteeringWeights

    @property
    def best(self) -> list[int]:
        """Index of each prompt's best completion, the first of equals."""
        return [int(np.argmax(one.mean)) for one in self.weighted]

    @property
    def completions(self) -> int:
        """Number of completions of all prompts."""
        return sum(len(one.completions) for one in self.answers)

    @property
    def alone(self) -> int:
        """Number of prompts with a single completion."""
        return _alone(self.answers)

    def means(self) -> dict[str, dict[str, float]]:
        """Mean rewards of each objective: over all completions, the chosen ones, and the objective's own best
        ones."""
        return {
            name: {
                "all": float(np.concatenate([one.mean for one in own]).mean()),
                "chosen": float(np.mean([one.mean[i] for one, i in zip(own, self.best, strict=True)])),
                "own_best": float(np.mean([one.mean.max() for one in own])),
            }
            for name, own in self.rewards.items()
        }

    def save(self, path: Path) -> None:
        """Write one JSON line per prompt: its best completion with its rewards."""
        rows = [
            {
                "prompt": one.prompt,
                "completion": one.completions[best],
                "sample": one.samples[best],
                "rewards": {
                    name: {"mean": float(own[i].mean[best]), "sigma": float(own[i].sigma[best])}
                    for name, own in self.rewards.items()
                },
                "weighted_reward": float(self.weighted[i].mean[best]),
                "weights": dict(self.weights),
            }
            for i, (one, best) in enumerate(zip(self.answers, self.best, strict=True))
        ]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def choose_best(
    draws: AnswerSet, rewards: Mapping[str, Scorer], weights: SteeringWeights, kept: Path, *,
    lower_bound: float = 0.0, raw: bool = False, dtype: DTypeName = "float32",
) -> Chosen:  # fmt: skip
    """Choose the best completion of each prompt by a weighted sum of rewards.

    Args:
        draws: Completions, several per prompt.
        rewards: Reward of each objective; rewards of weight 0 are not loaded.
        weights: Weights of the objectives.
        kept: File for the rewards of all completions; an interrupted run continues.
        lower_bound: Number of standard deviations to subtract from each reward, if its model estimates them.
        raw: Whether rewards keep their own units; otherwise each is divided by its standard deviation between
            completions of one prompt.
        dtype: Precision of the reward models.

    Raises:
        InputError: A weight has no reward, or every prompt has a single completion.
    """
    weights.require_known(tuple(rewards))
    check_lower_bound(lower_bound)
    used = {name: scorer for name, scorer in rewards.items() if weights.get(name, 0.0) > 0}
    answers = list(draws.answers.values())
    if _alone(answers) == len(answers) and not raw:
        raise InputError("has one completion per prompt: nothing to compare", path=draws.path)
    scored = score_answers(answers, used, kept, dtype=dtype)
    scales = {} if raw else {name: scale_of([r.mean for r in own], name) for name, own in scored.items()}
    weighted = weigh(scored, weights, scales, lower_bound=lower_bound)
    return Chosen(answers, scored, {n: one.deviation for n, one in scales.items()}, weighted, weights)


def score_answers(
    answers: Sequence[Answers], rewards: Mapping[str, Scorer], kept: Path, *, dtype: DTypeName = "float32"
) -> dict[str, list[OptionRewards]]:
    """Rewards of each prompt's completions, by objective.

    Args:
        answers: Completions by prompt.
        rewards: Reward of each objective.
        kept: File for the rewards; an interrupted run continues.
        dtype: Precision of the reward models.
    """
    wanted = [(name, _DRAWS) for name in rewards]
    means = score_sources(rewards, {_DRAWS: answers}, kept, wanted=wanted, dtype=dtype)
    sigmas = read_sigmas(kept)
    return {
        pair[0]: [
            OptionRewards(np.array(mean), np.array(sigma))
            for mean, sigma in zip(means[pair], sigmas[pair], strict=True)
        ]
        for pair in wanted
    }


def _alone(answers: Sequence[Answers]) -> int:
    return sum(len(one.completions) == 1 for one in answers)
