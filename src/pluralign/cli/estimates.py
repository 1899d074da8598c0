"""What verbs that measure share: estimates as JSON, and tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pluralign.cli.common import say
from pluralign.evaluate.statistics import Estimate


def as_json(estimate: Estimate) -> dict[str, float | None]:
    """Mean, standard error and both ends; null where one is infinite, for which JSON has no number."""
    return {name: value if math.isfinite(value) else None for name, value in asdict(estimate).items()}


def short(estimate: Estimate, digits: int = 3) -> str:
    """Mean and standard error."""
    return f"{estimate.mean:.{digits}f} ± {estimate.stderr:.{digits}f}"


def say_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table: names to the left, the rest to the right."""
    first = max(map(len, rows))
    widths = [max(map(len, cells)) for cells in zip(columns, *rows.values(), strict=True)]
    for name, cells in (("", columns), *rows.items()):
        told = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        say("  ".join([f"  {name:{first}}", *told]).rstrip())
