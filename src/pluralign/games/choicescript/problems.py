"""What is wrong with a story, and where."""

from __future__ import annotations

from dataclasses import dataclass

from pluralign.core import InputError


@dataclass(frozen=True, order=True)
class Problem:
    """One defect of a story.

    Args:
        file: the scene's file.
        line: in it, from 1; 0 where the file as a whole is at fault.
        kind: one word for sorting: syntax, label, variable, annotation, achievement, unreachable, fall,
            play, loop, size.
        message: what was found and what was expected.
    """

    file: str
    line: int
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"

    @classmethod
    def of(cls, error: InputError, kind: str, file: str = "") -> Problem:
        """The problem that an error reports."""
        field = f"field '{error.field}' " if error.field else ""
        return cls(error.path or file, error.row or 0, kind, field + error.message)

    def error(self) -> InputError:
        """The error that reports this problem."""
        return InputError(self.message, path=self.file, row=self.line or None)
