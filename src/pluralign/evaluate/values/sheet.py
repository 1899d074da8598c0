"""A sheet with all pairs of outcomes, in both orders, for a person to fill in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pluralign.annotate.human import export_sheet
from pluralign.core import Comparison, InputError
from pluralign.evaluate.values.answers import draw_pairs
from pluralign.evaluate.values.choosers import PREFERENCE, comparison_of
from pluralign.evaluate.values.outcomes import Outcome
from pluralign.evaluate.values.settings import AuditConfig


def both_orders(outcomes: Sequence[Outcome], config: AuditConfig) -> list[Comparison]:
    """Pairs of outcomes that an audit asks about, and then the same ones in the other order.

    Args:
        outcomes: Three or more outcomes.
        config: Settings of the audit.

    Raises:
        InputError: There are fewer than three outcomes.
    """
    texts = [one.text for one in outcomes]
    if len(texts) < 3:
        raise InputError(f"expected three or more outcomes, found {len(texts)}", field="outcomes")
    pairs, _ = draw_pairs(len(texts), config.pairs, config.triads, config.seed)
    both: list[tuple[int, int]] = [*pairs.tolist(), *pairs[:, ::-1].tolist()]
    return [comparison_of(texts[i], texts[j]) for i, j in both]


def write_outcome_sheet(
    outcomes: Sequence[Outcome], sheet: str | Path, config: AuditConfig | None = None
) -> int:
    """Write the questions of an audit in a random order, for a person to fill in; the filled sheet is the
    rater ``human:SHEET``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_outcome_sheet([Outcome("Rain."), Outcome("Snow."), Outcome("Sun.")], f"{folder}/sheet.csv")
    6

    Args:
        outcomes: Three or more outcomes.
        sheet: File to write (.csv or .jsonl).
        config: Settings of the audit; the seed also decides the order.

    Returns:
        Number of questions.

    Raises:
        InputError: There are fewer than three outcomes; or see `export_sheet`.
    """
    config = config or AuditConfig()
    listed = both_orders(outcomes, config)
    order: list[int] = np.random.default_rng(config.seed).permutation(len(listed)).tolist()
    export_sheet([listed[place] for place in order], PREFERENCE, Path(sheet))
    return len(listed)
