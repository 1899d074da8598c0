"""Weights of many people, each from their own choices."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.choice import Choice
from pluralign.core.files import replace_when_whole
from pluralign.core.progress import ProgressBar
from pluralign.elicit.choice_data import objectives_of, value_scales
from pluralign.elicit.people import learn_prior
from pluralign.elicit.posterior import LAPSE, WeightPosterior, infer_weights
from pluralign.elicit.prior import WeightPrior

PriorName = Literal["flat", "people"]
"""Prior of each person's weights: uniform on the simplex, or learned from other people's choices."""


@dataclass(frozen=True, eq=False)
class ManyWeights:
    """Posteriors by person, in one unit of values."""

    people: Mapping[str, WeightPosterior]

    @property
    def objectives(self) -> tuple[str, ...]:
        """Objectives of the weights."""
        return next(iter(self.people.values())).objectives

    def to_json(self) -> dict[str, Any]:
        """Means over people, and how well weights predict each answer from the person's other ones."""
        found = [one.explains for one in self.people.values() if one.explains is not None]
        answers = np.array([one.answers for one in self.people.values()], dtype=np.float64)
        weights = np.array([one.mean.aligned_to(self.objectives) for one in self.people.values()])

        def mean(numbers: Sequence[float]) -> float:
            return float(np.average(np.array(numbers), weights=answers))

        return {
            "people": len(self.people),
            "answers": int(answers.sum()),
            "mean_weights": dict(zip(self.objectives, weights.mean(axis=0).tolist(), strict=True)),
            "share": mean([one.share for one in found]),
            "log_loss": mean([one.log_loss for one in found]),
            "even_log_loss": mean([one.even_log_loss for one in found]),
            "scales": dict(next(iter(self.people.values())).scales),
        }

    def save_table(self, path: Path) -> None:
        """Write a CSV file with one row per person: answers, and each weight with its 90 % interval."""
        parts = [f"{name}{end}" for name in self.objectives for end in ("", "_low", "_high")]
        with (
            replace_when_whole(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as handle,
        ):
            writer = csv.writer(handle)
            writer.writerow(["person", "answers", *parts, "decisiveness", "share", "log_loss"])
            for person, one in self.people.items():
                cells = [
                    number for name in self.objectives for number in (one.mean[name], *one.interval(name))
                ]
                explained = one.explains
                last = [one.decisiveness()[0], *((explained.share, explained.log_loss) if explained else ())]
                writer.writerow([person, one.answers, *(f"{x:.5g}" for x in (*cells, *last))])


@checked
def infer_many(
    choices: Sequence[Choice],
    *,
    prior: PriorName = "flat",
    scales: Mapping[str, float] | None = None,
    lapse: float = LAPSE,
    draws: int = 4096,
    seed: int = 0,
) -> ManyWeights:
    """Infer the weights of each person in a list of choices (`Choice.by`).

    A prior from other people is learned twice, from each half of them, so that nobody's choices are in their
    own prior.

    Args:
        choices: Choices of several people.
        prior: Prior of each person's weights.
        scales: Unit of each objective's values, by default their deviation over all choices.
        lapse: Probability of an answer at random.
        draws: Number of draws per person.
        seed: Random seed of the draws, and of the halves.

    Raises:
        InputError: The choices have different objectives; for a prior from other people, there are fewer than
            four people.
    """
    by_person: dict[str, list[Choice]] = {}
    for choice in choices:
        by_person.setdefault(choice.by, []).append(choice)
    questions = [choice.question for choice in choices]
    names, units = objectives_of(questions), scales or value_scales(questions)
    priors: dict[str, WeightPrior | None] = dict.fromkeys(by_person)
    if prior == "people":
        if len(by_person) < 4:
            raise InputError(
                "a prior by other people needs four people or more, two for each half, "
                f"found {len(by_person)}",
                field="prior",
            )
        order = list(by_person)
        np.random.default_rng(seed).shuffle(order)
        halves = [order[0::2], order[1::2]]
        for own, others in (halves, halves[::-1]):
            learned = learn_prior(
                [by_person[one] for one in others], names, scales=units, lapse=lapse, seed=seed
            )
            priors.update(dict.fromkeys(own, learned))
    found: dict[str, WeightPosterior] = {}
    with ProgressBar(len(by_person), "people") as bar:
        for person, own in by_person.items():
            found[person] = infer_weights(
                own, names, prior=priors[person], scales=units, lapse=lapse, draws=draws, seed=seed
            )
            bar.advance()
    return ManyWeights(found)
