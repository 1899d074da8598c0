"""An error in a story, with its place."""

from __future__ import annotations

from dataclasses import dataclass

from pluralign.core import InputError

WARNING = "warning"
"""Kind of a problem that does not affect play."""


@dataclass(frozen=True, order=True)
class Problem:
    """An error in a story.

    Args:
        file: File of the scene.
        line: Number of the line, from 1; 0 for the file as a whole.
        kind: Kind of error: syntax, label, variable, annotation, achievement, unreachable, fall, play, loop,
            size or warning (`WARNING`).
        message: What was found and what was expected.
    """

    file: str
    line: int
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"

    @classmethod
    def of(cls, error: InputError, kind: str, file: str = "") -> Problem:
        """A problem from an error.

        Args:
            error: Error to convert.
            kind: Kind of error.
            file: File of the problem, if the error names none.
        """
        field = f"field '{error.field}' " if error.field else ""
        return cls(error.path or file, error.row or 0, kind, field + error.message)

    def error(self) -> InputError:
        """An error from this problem."""
        return InputError(self.message, path=self.file, row=self.line or None)
