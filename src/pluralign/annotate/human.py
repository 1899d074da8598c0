"""People as raters: export of a sheet to fill in, and import of the answers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.annotate.prompt import segment_text
from pluralign.annotate.rater import Rating
from pluralign.core import Annotation, Comparison, InputError, Objective
from pluralign.core.digests import digest
from pluralign.core.files import replace_when_whole
from pluralign.core.jsonl import json_text, read_rows, repeated
from pluralign.core.preference import EXCHANGED, PREFERENCES, Preference

COLUMNS = ("comparison", "objective", "situation", "first", "second", "preference")


def export_sheet(comparisons: Sequence[Comparison], objective: Objective, path: str | Path) -> None:
    """Write a sheet whose column ``preference`` is to be filled in with first, second or tie.

    Args:
        comparisons: Comparisons, one per row.
        objective: Objective to judge by.
        path: File to write: ``.csv`` for a spreadsheet, ``.jsonl`` for a program.

    Raises:
        InputError: The suffix is neither, the file exists and is anything but this sheet without answers, or
            it cannot be written.
    """
    path = Path(path)
    rows = [dict(zip(COLUMNS, _cells(c, objective), strict=True)) for c in comparisons]
    suffix, text = _suffix(path), io.StringIO(newline="")
    if suffix == ".csv":
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json_text(row) + "\n" for row in rows)
    # Spreadsheets read a CSV file as UTF-8 only if it begins with a byte order mark.
    sheet = text.getvalue().encode("utf-8-sig" if suffix == ".csv" else "utf-8")
    if path.is_file() and path.read_bytes() != sheet:
        raise InputError("exists, perhaps with answers, which would be lost; choose another name", path=path)
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(sheet)


def import_sheet(path: str | Path, comparisons: Sequence[Comparison], name: str | None = None) -> HumanRater:
    """Read a completed sheet.

    The sheet needs the columns ``comparison`` and ``preference``, in any order, and may have others. An empty
    preference counts as no answer. A comparison may list its two segments in either order. Where there is a
    column ``objective``, its answers are to that question only.

    Args:
        path: Sheet: ``.csv`` (commas or semicolons) or ``.jsonl``.
        comparisons: Comparisons that the sheet was made from.
        name: Name of the person; None is the name of the file.

    Raises:
        InputError: A comparison is unknown or answered twice, or a preference is not first, second or tie;
            the error names file, row and field.
    """
    path = Path(path)
    known = {c.id: (c.id, False) for c in comparisons}
    # A sheet made with other tools may list the two segments in the other order.
    for c in comparisons:
        known.setdefault(Comparison(c.second, c.first).id, (c.id, True))
    answers: dict[str, Preference] = {}
    asked: dict[str, int] = {}
    for number, row in _rows(path):
        listed = _text(row, "comparison", path, number)
        if listed not in known:
            message = f"unknown comparison: {listed!r:.80}"
            raise InputError(message, path=path, row=number, field="comparison")
        answer = _text(row, "preference", path, number).lower()
        if not answer:
            continue
        if answer not in PREFERENCES:
            message = f"expected first, second, tie or nothing, found {answer!r:.40}"
            raise InputError(message, path=path, row=number, field="preference")
        key, exchanged = known[listed]
        if key in answers:
            raise InputError(
                f"{listed!r:.80} is answered a second time", path=path, row=number, field="comparison"
            )
        answers[key] = EXCHANGED[answer] if exchanged else answer
        if row.get("objective"):
            asked.setdefault(_words(_text(row, "objective", path, number)), number)
    return HumanRater(name or path.name, answers, asked)


class HumanRater:
    """Returns the answers of a sheet, and None for comparisons without one.

    Args:
        source: Name of the person or of the sheet.
        answers: Preferences by comparison id.
        asked: Rows of the sheet by the description of the objective that they ask about; empty if the sheet
            does not say.
    """

    batch = 256

    def __init__(
        self, source: str, answers: Mapping[str, Preference], asked: Mapping[str, int] | None = None
    ) -> None:
        self._source, self.answers, self._asked = source, dict(answers), dict(asked or {})

    @property
    def name(self) -> str:
        """``human:NAME``, or ``human:FILE`` of a sheet without a name."""
        return f"human:{self._source}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`; none, so that a sheet can be filled in further and imported again."""
        return {}

    @property
    def identity(self) -> Mapping[str, str]:
        """Digest of the answers, which changes when the sheet is filled in further."""
        return {"answers": digest([json.dumps(self.answers, sort_keys=True).encode()])}

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`.

        Raises:
            InputError: The sheet asks about another objective.
        """
        for description, row in self._asked.items():
            if description != _words(objective.description):
                raise InputError(
                    f"asks about {description!r:.60}, and {objective.name} is {objective.description!r:.60}; "
                    "without this column, answers to the same question in other words are taken",
                    path=self._source, row=row, field="objective",
                )  # fmt: skip
        return [Rating(self.answers[c.id]) if c.id in self.answers else None for c in comparisons]

    def require_kept(self, annotations: Sequence[Annotation]) -> None:
        """Refuse a sheet whose answers were changed after they were imported.

        Args:
            annotations: What was imported from it before.

        Raises:
            InputError: An answer is another one.
        """
        for known in annotations:
            answer = self.answers.get(known.comparison.id, known.preference)
            if answer != known.preference:
                raise InputError(
                    f"{known.comparison.id!r:.80} is {answer!r} here, and was imported as "
                    f"{known.preference!r}; import a corrected sheet into another file",
                    path=self._source, field="preference",
                )  # fmt: skip


def _words(text: str) -> str:
    """A text whose white space a spreadsheet may have changed."""
    return " ".join(text.split())


def _cells(comparison: Comparison, objective: Objective) -> tuple[str, ...]:
    first, second = comparison.first, comparison.second
    shared = first.steps[0].decision.prompt == second.steps[0].decision.prompt
    return (
        comparison.id,
        objective.description,
        first.steps[0].decision.prompt if shared else "",
        segment_text(first, with_situation=not shared),
        segment_text(second, with_situation=not shared),
        "",
    )


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if _suffix(path) == ".jsonl":
        for fields in read_rows(path):
            yield fields.number, fields.row
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            head = handle.readline()
            handle.seek(0)
            # Spreadsheets write semicolons in locales with a decimal comma.
            delimiter = ";" if head.count(";") > head.count(",") else ","
            reader = csv.DictReader(handle, delimiter=delimiter)
            for column in ("comparison", "preference"):
                if column not in (reader.fieldnames or ()):
                    raise InputError("has no such column", path=path, row=1, field=column)
            if (twice := repeated(filter(None, reader.fieldnames or ()))) is not None:
                raise InputError("two columns have this name", path=path, row=1, field=twice)
            # Cells may contain line breaks, so row numbers differ from line numbers.
            for number, row in enumerate(reader, start=2):
                # Spreadsheets add empty rows below a table.
                if any((row[name] or "").strip() for name in reader.fieldnames or ()):
                    yield number, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", path=path) from error


def _text(row: Mapping[str, Any], field: str, path: Path, number: int) -> str:
    if field not in row:
        raise InputError("is missing", path=path, row=number, field=field)
    value = row[field]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"expected a text, found {value!r:.60}", path=path, row=number, field=field)
    return value.strip()


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise InputError(f"expected a .csv or .jsonl file, found '{suffix}'", path=path)
    return suffix
