"""Lotteries and states of processes, by their comparison with outcomes of known utility."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.values.answers import ask
from pluralign.evaluate.values.choosers import Chooser
from pluralign.evaluate.values.coherence import Agreement, agreement, means_and_ends
from pluralign.evaluate.values.outcomes import Lottery, Outcome, Process
from pluralign.evaluate.values.utilities import Utilities, place

_TENTHS = 10


class Sizes(Protocol):
    """Settings of `place_items`: an `AuditConfig`."""

    @property
    def drawn_lotteries(self) -> int:
        """Number of lotteries that are drawn."""
        ...

    @property
    def anchors(self) -> int:
        """Number of outcomes that each item is compared with."""
        ...

    @property
    def resamples(self) -> int:
        """Number of bootstrap resamples."""
        ...

    @property
    def seed(self) -> int:
        """Random seed."""
        ...


@dataclass(frozen=True)
class Placed:
    """Results of the tests; None where there was nothing to test.

    Args:
        lotteries: Utilities of drawn lotteries against expected utilities.
        implied: The same for lotteries that an outcome implies.
        instrumental: Utilities of states against those of the ends that follow.
    """

    lotteries: Agreement | None
    implied: Agreement | None
    instrumental: Agreement | None


def draw_lotteries(outcomes: Sequence[Outcome], number: int, seed: int) -> list[Lottery]:
    """Lotteries over two or three outcomes, with probabilities in tenths."""
    random = np.random.default_rng(seed)
    found: list[Lottery] = []
    for _ in range(number):
        count = int(random.integers(2, 4))
        chosen: list[int] = random.choice(len(outcomes), count, replace=False).tolist()
        parts: list[int] = (1 + random.multinomial(_TENTHS - count, np.full(count, 1 / count))).tolist()
        found.append(
            Lottery(tuple((outcomes[i].text, n / _TENTHS) for i, n in zip(chosen, parts, strict=True)))
        )
    return found


def place_items(
    chooser: Chooser,
    outcomes: Sequence[Outcome],
    utilities: Utilities,
    lotteries: Sequence[Lottery],
    processes: Sequence[Process],
    sizes: Sizes,
    folder: Path | None,
) -> Placed:
    """Ask about lotteries and states, and test whether their utilities follow from those of outcomes.

    Args:
        chooser: Rater, model or person that is asked.
        outcomes: Outcomes.
        utilities: Their utilities.
        lotteries: Lotteries that an outcome implies.
        processes: Markov processes.
        sizes: Settings.
        folder: Folder for the answers; None keeps none.
    """
    known = {one.text: float(u) for one, u in zip(outcomes, utilities.mean, strict=True)}
    drawn = draw_lotteries(outcomes, sizes.drawn_lotteries, sizes.seed)
    texts = [lottery.text for lottery in (*drawn, *lotteries)]
    texts += [text for lottery in lotteries for text, _ in lottery.parts]
    texts += [state for process in processes for state in process.states]
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if new:
        known |= _placed(chooser, list(known), utilities.mean, new, sizes, folder)

    def lottery_test(candidates: Sequence[Lottery]) -> Agreement | None:
        own = [one for one in candidates if {one.text, *(text for text, _ in one.parts)} <= known.keys()]
        given = np.array([known[one.text] for one in own])
        expected = np.array([sum(p * known[text] for text, p in one.parts) for one in own])
        return agreement(given, expected, resamples=sizes.resamples, seed=sizes.seed)

    usable = [process for process in processes if set(process.states) <= known.keys()]
    states = [np.array([known[state] for state in process.states]) for process in usable]
    given, expected, groups = means_and_ends(usable, states)
    instrumental = agreement(given, expected, groups=groups, resamples=sizes.resamples, seed=sizes.seed)
    return Placed(lottery_test(drawn), lottery_test(lotteries), instrumental)


def _placed(
    chooser: Chooser, outcomes: list[str], utilities: FloatArray, new: list[str], sizes: Sizes,
    folder: Path | None,
) -> dict[str, float]:  # fmt: skip
    random = np.random.default_rng(sizes.seed)
    count = min(sizes.anchors, len(outcomes))
    anchors = np.array([random.choice(len(outcomes), count, replace=False) for _ in new])
    owners = np.repeat(np.arange(len(new)), count) + len(outcomes)
    pairs = np.column_stack([owners, anchors.ravel()])
    asked = ask(chooser, [*outcomes, *new], pairs, folder and folder / "placed.jsonl", {})
    prefer = asked.prefer.reshape(len(new), count)
    answered = np.isfinite(prefer)
    kept = [row for row in range(len(new)) if answered[row].any()]
    means, _ = place(
        [prefer[row][answered[row]] for row in kept], [utilities[anchors[row]][answered[row]] for row in kept]
    )
    return {new[row]: float(u) for row, u in zip(kept, means, strict=True)}
