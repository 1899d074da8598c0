"""The best of several answers by weighted measures: steering without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from measured_lib.measures import QUALITIES
from pluralign.core import SteeringWeights
from pluralign.evaluate.sweeps.texts import TextPoint


def best_of(
    answers: Sequence[Sequence[str]], scale: Mapping[str, tuple[float, float]],
    weightings: Sequence[SteeringWeights],
) -> list[TextPoint]:  # fmt: skip
    """For each weighting the answers with the highest weighted sum of standardised first measures.

    Args:
        answers: Answers of the base model to each prompt.
        scale: Mean and standard deviation of each objective's measure.
        weightings: Weights of the objectives.
    """
    label = f"best of {len(answers[0])}"
    found = {
        name: np.array([[QUALITIES[name].first[1](text) for text in own] for own in answers])
        for name in scale
    }
    points: list[TextPoint] = []
    for weights in weightings:
        total = sum(weights[name] * (found[name] - mean) / sd for name, (mean, sd) in scale.items())
        best = np.argmax(total, axis=1)
        rewards = {name: values[np.arange(len(best)), best] for name, values in found.items()}
        texts = [[own[i]] for own, i in zip(answers, best.tolist(), strict=True)]
        points.append(TextPoint(label, weights, rewards, texts))
    return points
