"""The one exception that a user's mistake raises."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be used: says where it is, what was found and what was expected.

    The command line prints the message as one line and exits with code 2; a traceback is
    never shown for it. Everything that reads a user's file raises this and nothing else.

    Examples:
        >>> import pluralign as pl
        >>> str(pl.InputError("expected a number", path="data.jsonl", row=3, field="reward"))
        "data.jsonl:3, field 'reward': expected a number"
    """

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        row: int | None = None,
        field: str | None = None,
    ) -> None:
        self.message = message
        self.path = None if path is None else str(path)
        self.row = row
        self.field = field
        where = "" if path is None else str(path)
        if row is not None:
            where += f":{row}" if where else f"row {row}"
        if field is not None:
            where += f", field '{field}'" if where else f"field '{field}'"
        super().__init__(f"{where}: {message}" if where else message)
