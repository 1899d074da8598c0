"""What verbs that measure share: NAME=THING arguments, estimates as JSON, and tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pluralign.cli.common import say
from pluralign.core import InputError
from pluralign.evaluate.statistics import Estimate


def named_entries(entries: Sequence[str], field: str, form: str) -> dict[str, str]:
    """Read ``NAME=THING`` entries.

    Args:
        entries: as given; what stands after the first "=" is the thing.
        field: the option's name, for complaints.
        form: what was expected.

    Raises:
        InputError: an entry has no name or no thing, or a name comes twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, _, thing = entry.partition("=")
        if not name or not thing:
            raise InputError(f"expected {form}, found {entry!r}", field=field)
        if name in found:
            raise InputError(f"'{name}' is given twice", field=field)
        found[name] = thing
    if not found:
        raise InputError(f"expected {form}, found none", field=field)
    return found


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
