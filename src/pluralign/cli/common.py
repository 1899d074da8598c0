"""Functions shared by several verbs: output, the figures file, parsing of options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from pluralign.core import InputError
from pluralign.lm.endpoint_settings import EndpointSettings

if TYPE_CHECKING:
    from pluralign.workflows.weights import WeightReport

Figures = Mapping[str, Any]
"""What a verb found, as JSON values: ``--json FILE`` writes it."""

Requests = Annotated[EndpointSettings, tyro.conf.arg(name="")]
"""Settings of an endpoint, as options without a prefix."""


def say(message: str) -> None:
    """Print a message immediately."""
    print(message, flush=True)


def wrote(path: Path, what: str) -> None:
    """Report a file that was written."""
    say(f"wrote {path}  ({what})")


def left_out(counts: Mapping[str, int], reasons: Mapping[str, str], form: str = "{text} ({count})") -> str:
    """What was left out of data, for the end of a line; empty if nothing was.

    Args:
        counts: Numbers by reason.
        reasons: Text of each reason.
        form: Form of a reason with its number.
    """
    told = ", ".join(
        form.format(text=text, count=counts[name]) for name, text in reasons.items() if counts[name]
    )
    return f"; left out: {told}" * bool(told)


def say_table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Print a table: names of rows aligned left, cells aligned right."""
    first = max(map(len, rows))
    widths = [max(map(len, cells)) for cells in zip(columns, *rows.values(), strict=True)]
    for name, cells in (("", columns), *rows.items()):
        aligned = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        say("  ".join([f"  {name:{first}}", *aligned]).rstrip())


def say_weights(report: WeightReport, out: Path) -> tuple[Figures, int]:
    """Print and write the weights of one person; return the figures and the exit code."""
    posterior = report.posterior
    rows: dict[str, list[str]] = {}
    for name in posterior.objectives:
        low, high = posterior.interval(name)
        rows[name] = [f"{posterior.mean[name]:.3f}", f"{low:.3f} to {high:.3f}"]
    say_table(["weight", "90 % interval"], rows)
    for line in report.lines():
        say(line)
    figures = report.save(out)
    wrote(out / "weights.json", "weights.svg is next to it")
    return figures, int(report.by_chance)


def refuse(message: str, **options: object) -> None:
    """Refuse options that were given: those that are not None.

    Raises:
        InputError: One was given.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(message, field=name)


def named_entries(entries: Sequence[str], field: str, form: str, *, required: bool = True) -> dict[str, str]:
    """Read ``NAME=THING`` entries.

    Args:
        entries: Entries; everything after the first "=" belongs to the thing.
        field: Name of the option, for error messages.
        form: Expected form, for error messages.
        required: Whether at least one entry is required.

    Raises:
        InputError: An entry lacks its name or thing, a name is repeated, or there is no entry.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, _, thing = entry.partition("=")
        if not name or not thing:
            raise InputError(f"expected {form}, found {entry!r}", field=field)
        if name in found:
            raise InputError(f"'{name}' is given twice", field=field)
        found[name] = thing
    if required and not found:
        raise InputError(f"expected {form}, found none", field=field)
    return found


def named_folders(entries: Sequence[str], field: str, *, required: bool = False) -> dict[str, Path]:
    """Read ``NAME=DIR`` entries; see `named_entries`."""
    found = named_entries(entries, field, "NAME=DIR", required=required)
    return {name: Path(folder) for name, folder in found.items()}


def named_policies(entries: Sequence[str], field: str) -> dict[str, Path]:
    """Read ``NAME=DIR`` entries, and folders of heads without a name, which have their objectives' names.

    Raises:
        InputError: See `named_entries`; or an entry without a name holds no heads.
    """
    from pluralign.folders.heads import is_heads_folder  # heavy
    from pluralign.steer.policy_folders import heads_of

    found: dict[str, Path] = {}
    for entry in entries:
        headed = "=" not in entry and is_heads_folder(entry)
        own = heads_of(entry) if headed else named_folders([entry], field)
        if twice := sorted(set(own) & set(found)):
            raise InputError(f"'{twice[0]}' is given twice", field=field)
        found |= own
    return found or named_folders((), field, required=True)
