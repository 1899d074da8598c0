"""What all instruments say of every side's answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from measured_lib.fluency import repetition, surprisals
from measured_lib.measures import QUALITIES
from measured_lib.prompts import rendered
from pluralign.evaluate.sweeps.texts import TextPoint
from pluralign.lm.backbone import Backbone


def outcomes(
    points: Sequence[TextPoint], questions: Sequence[str], names: Sequence[str], base: Backbone, fluent: int
) -> dict[str, Any]:
    """Measures of every point's answers, one answer per prompt.

    Args:
        points: Points of all sides.
        questions: Prompts.
        names: Objectives.
        base: Base model, which reads the answers to the first prompts.
        fluent: Number of these prompts.

    Returns:
        Answers and figures of every point, by prompt: both instruments of each objective, ``surprisal``
        (nats per token, of the first prompts) and ``repetition``.
    """
    read = surprisals(
        base,
        {
            rendered(base.tokenizer, question): [point.texts[i][0] for point in points]
            for i, question in enumerate(questions[:fluent])
        },
    )
    found: list[dict[str, Any]] = []
    for number, point in enumerate(points):
        texts = [own[0] for own in point.texts]
        found.append(
            {
                "side": point.side,
                "weights": None if point.weights is None else dict(point.weights),
                "first": {name: [QUALITIES[name].first[1](text) for text in texts] for name in names},
                "second": {name: [QUALITIES[name].second[1](text) for text in texts] for name in names},
                "surprisal": [own[number] for own in read],
                "repetition": [repetition(text) for text in texts],
                "texts": texts,
            }
        )
    return {"objectives": list(names), "prompts": list(questions), "points": found}
