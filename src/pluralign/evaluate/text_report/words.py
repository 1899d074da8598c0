"""Sentences about the figures of a sweep over prompts; their wording depends on the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.evaluate.report.picture import plain
from pluralign.evaluate.report.words import interval, number
from pluralign.evaluate.statistics import CONFIDENCE, student
from pluralign.evaluate.sweeps.fronts import SideFront, TextFronts


def headline(fronts: TextFronts) -> str:
    """The report in one line: the effect of moving the weight from the second objective to the first."""
    first, second = (plain(name) for name in fronts.objectives[:2])
    gains = [_gain(fronts, axis) for axis in (0, 1)]
    turning = f"Shifting the weight between {first} and {second}"
    if all(gain > 0 for gain in gains):
        return f"{turning} moves both rewards, with no retraining"
    if any(gain > 0 for gain in gains):
        moved = first if gains[0] > 0 else second
        return f"{turning} measurably moves the {moved} reward only"
    return f"{turning} made no measurable difference to the rewards"


def takeaway(fronts: TextFronts) -> str:
    """Comparison of the first side with each of the others, by the intervals of their differences."""
    main, others = fronts.sides[0], fronts.sides[1:]
    sentences = [
        f"{main.label.capitalize()}: hypervolume {interval(main.hypervolume)} above the reference point."
    ]
    for words, sign in (("more than", 1), ("less than", -1), ("not distinguishable from", 0)):
        found = [side.label for side in others if compared(side) == sign]
        if found:
            sentences.append(f"That is {words} {_listed(found)}.")
    return " ".join(sentences)


def compared(side: SideFront) -> int:
    """1 if the first side measurably covers more than this one, -1 if less, 0 if neither."""
    if side.lead is None:
        return 0
    return int(side.lead.low > 0) - int(side.lead.high < 0)


def scale_words(fronts: TextFronts) -> str:
    """Meaning of the rewards 0 and 1, and position of the reference point."""
    corner = ", ".join(
        f"{plain(name)} {number(float(value))}"
        for name, value in zip(fronts.objectives, fronts.reference, strict=True)
    )
    return (
        "0 is the base model’s mean reward and 1 the standard deviation of its rewards over prompts. The "
        f"reference point ({corner}) lies a tenth of the range below the lowest mean of all points; it was "
        "fixed before the resampling. Intervals come from resampled prompts, the same for all sides."
    )


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _gain(fronts: TextFronts, axis: int) -> int:
    """1 if moving all weight to one of the first two objectives from the other measurably raises its reward,
    paired over prompts, by Student's interval."""
    found: list[FloatArray] = []
    for name in (fronts.objectives[axis], fronts.objectives[1 - axis]):
        weights = [0.0 if p.weights is None else p.weights.get(name, 0.0) for p in fronts.sides[0].points]
        found.append(fronts.normalised(fronts.sides[0].points[int(np.argmax(weights))])[:, axis])
    low, high = student(found[0] - found[1], CONFIDENCE)
    return int(low > 0) - int(high < 0)
