"""Weighted best-of-N of completions in a file: the best one per prompt by a weighted sum of rewards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import Decision, InputError, OptionRewards, SteeringWeights
from pluralign.core.choice import Question
from pluralign.core.files import write_text
from pluralign.core.jsonl import json_text
from pluralign.data.answers import Answers, AnswerSet
from pluralign.data.columns import columns_of
from pluralign.elicit.posterior import WeightPosterior
from pluralign.elicit.verdict import Verdict, decide
from pluralign.evaluate.rewards.scored import read_sigmas, score_sources
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.ensemble import Scale, scale_of
from pluralign.rewards.identity import Scorer
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
        verdicts: Verdict of inferred weights on each prompt's completions, None for a prompt with one
            completion; empty for given weights.
    """

    answers: Sequence[Answers]
    rewards: Mapping[str, Sequence[OptionRewards]]
    scales: Mapping[str, float]
    weighted: Sequence[OptionRewards]
    weights: SteeringWeights
    verdicts: Sequence[Verdict | None] = ()

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
                **columns_of(one.prompt),
                "completion": one.completions[best],
                "sample": one.samples[best],
                "rewards": {
                    name: {"mean": float(own[i].mean[best]), "sigma": float(own[i].sigma[best])}
                    for name, own in self.rewards.items()
                },
                "weighted_reward": float(self.weighted[i].mean[best]),
                "weights": dict(self.weights),
                **self._verdict(i),
            }
            for i, (one, best) in enumerate(zip(self.answers, self.best, strict=True))
        ]
        write_text(path, "".join(json_text(row) + "\n" for row in rows))

    @property
    def undecided(self) -> int:
        """Number of prompts whose completion inferred weights do not decide."""
        return sum(verdict is not None and not verdict.decided for verdict in self.verdicts)

    def _verdict(self, prompt: int) -> dict[str, Any]:
        """Fields of a prompt's row: samples that inferred weights leave."""
        if not self.verdicts:
            return {}
        verdict, samples = self.verdicts[prompt], self.answers[prompt].samples
        if verdict is None:
            return {"decided": True, "undominated": list(samples)}
        return {"decided": verdict.decided, "undominated": [samples[i] for i in verdict.undominated]}


def choose_best(
    draws: AnswerSet, rewards: Mapping[str, Scorer], weights: SteeringWeights | WeightPosterior,
    kept: str | Path, *, lower_bound: float = 0.0, raw: bool = False, dtype: DTypeName = "float32",
) -> Chosen:  # fmt: skip
    """Choose the best completion of each prompt by a weighted sum of rewards.

    Args:
        draws: Completions, several per prompt.
        rewards: Reward of each objective; rewards of weight 0 are not loaded.
        weights: Weights of the objectives, or what is known about a person's. Inferred weights are those of
            rewards in the posterior's units, and each prompt gets a verdict (`elicit.verdict.decide`).
        kept: File for the rewards of all completions; an interrupted run continues.
        lower_bound: Number of standard deviations to subtract from each reward, if its model estimates them.
        raw: Whether rewards keep their own units; otherwise each is divided by its standard deviation between
            completions of one prompt.
        dtype: Precision of the reward models.

    Raises:
        InputError: A weight has no reward, an objective of inferred weights has none, inferred weights are
            asked for in raw rewards, or every prompt has a single completion.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": "Do you?", "completion": text} for text in (" No.", " Yes, gladly!")]
        >>> rewards = {
        ...     "brief": pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts]),
        ...     "eager": pl.FunctionReward("eager", lambda prompts, texts: [one.count("!") for one in texts]),
        ... }
        >>> draws = pl.evaluate.load_answers(rows)
        >>> for eager in (0.2, 0.8):
        ...     mix = pl.SteeringWeights(brief=1 - eager, eager=eager)
        ...     found = pl.evaluate.choose_best(draws, rewards, mix, "rewards.jsonl")
        ...     print(draws.answers["Do you?"].completions[found.best[0]])
         No.
         Yes, gladly!
    """
    inferred = weights if isinstance(weights, WeightPosterior) else None
    weights = weights.mean if isinstance(weights, WeightPosterior) else weights
    weights.require_known(tuple(rewards))
    if inferred is not None and raw:
        raise InputError("inferred weights have units of their own", field="raw")
    check_lower_bound(lower_bound)
    used = {n: scorer for n, scorer in rewards.items() if inferred or weights.get(n, 0.0) > 0}
    if inferred is not None:
        used = {name: used[name] for name in inferred.objectives}
    answers = list(draws.answers.values())
    if _alone(answers) == len(answers) and not raw:
        raise InputError("has one completion per prompt: nothing to compare", path=draws.path)
    scored = score_answers(answers, used, Path(kept), dtype=dtype)
    scales: dict[str, Scale] = {}
    if inferred is not None:
        scales = {name: Scale(0.0, inferred.scales[name]) for name in scored}
    elif not raw:
        scales = {name: scale_of([r.mean for r in own], name) for name, own in scored.items()}
    weighted = weigh(scored, weights, scales, lower_bound=lower_bound)
    verdicts = [] if inferred is None else _verdicts(inferred, answers, scored, lower_bound)
    deviations = {name: one.deviation for name, one in scales.items()}
    return Chosen(answers, scored, deviations, weighted, weights, verdicts)


def _verdicts(
    inferred: WeightPosterior, answers: Sequence[Answers], scored: Mapping[str, Sequence[OptionRewards]],
    lower_bound: float,
) -> list[Verdict | None]:  # fmt: skip
    """Verdicts on what the completions are chosen by: rewards less their uncertainty. Equal completions are
    one."""
    found: list[Verdict | None] = []
    for number, one in enumerate(answers):
        count = len(one.completions)
        # Only the number of options and their values count.
        decision = Decision("", tuple(str(place) for place in range(count)))
        rewards = {n: own[number].mean - lower_bound * own[number].sigma for n, own in scored.items()}
        values = tuple({n: float(own[k]) for n, own in rewards.items()} for k in range(count))
        if count == 1:
            found.append(None)
            continue
        verdict = decide(inferred, Question(decision, values))
        left = {json.dumps(one.completions[place]) for place in verdict.undominated}
        found.append(replace(verdict, decided=len(left) == 1))
    return found


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
