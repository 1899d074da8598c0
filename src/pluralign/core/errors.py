"""The exception for user mistakes."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Input that cannot be used. The message says where it is, what was expected and what was found.

    The command line prints the message as one line and exits with code 2, without a traceback. All code that
    reads users' files raises this exception for their mistakes.

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


class ServerError(InputError):
    """A server that was named as input does not answer, or not as expected; the same input may work later."""


class CodeError(InputError):
    """Code that was named as input, such as a reward function of the user's, fails when it is called."""
