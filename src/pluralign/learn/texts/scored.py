"""Completions with rewards as rows to learn from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pluralign.core import Demonstration, InputError
from pluralign.data.examples import ScoredCompletion
from pluralign.data.reading import learned_template
from pluralign.learn.texts.run import Run
from pluralign.lm.backbone import load_tokenizer


def require_scored(rows: Sequence[ScoredCompletion]) -> None:
    """Refuse rows of another kind, rewards that are not finite, and rewards of several objectives.

    Raises:
        InputError: There is such a row, or no training row.
    """
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, ScoredCompletion):
            raise InputError(
                f"expected a completion with its reward, as load_scored reads it, found {row!r:.60}",
                row=number,
            )
        if not math.isfinite(row.reward):
            raise InputError(f"must be finite, found {row.reward}", row=number, field="reward")
    train = [row for row in rows if row.split == "train"]
    if not train:
        raise InputError("there is no training completion to learn from")
    if len({row.objective for row in train}) > 1:
        raise InputError("expected completions with rewards of one objective, found several")


def as_demonstrations(rows: Sequence[ScoredCompletion], run: Run) -> tuple[list[Demonstration], Run]:
    """The completions without their rewards, and the run with the template that rendered them.

    An empty completion becomes the end of text alone, since demonstrations may not be empty.

    Args:
        rows: Completions.
        run: Run whose model reads them.

    Raises:
        InputError: The messages were rendered with another template than requested.
    """
    tokenizer = load_tokenizer(run.model)
    # The rows lose their template here.
    template = learned_template(rows, run.template, tokenizer)
    end = str(tokenizer.eos_token)
    texts = [
        Demonstration(
            row.prompt, row.completion if row.completion.strip() else row.completion + end,
            objective=row.objective, split=row.split,
        )
        for row in rows
    ]  # fmt: skip
    return texts, dataclasses.replace(run, template=template, quoted=run.has_quoted(rows))
