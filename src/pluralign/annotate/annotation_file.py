"""A file of annotations that is written as comparisons are rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pluralign.annotate.human import HumanRater
from pluralign.annotate.rater import Rater, Rating, identity_of
from pluralign.core import Annotation, Comparison, InputError, Objective
from pluralign.core.jsonl import is_object, read_rows
from pluralign.core.progress import ProgressBar
from pluralign.core.records import RecordWriter, continues, read_annotations

KIND = "annotations"


def _asked(objective: Objective, path: Path) -> dict[str, Any]:
    """The objective as the header has it, with coefficients, by which an oracle answers. Files of 0.1.0 have
    none."""
    asked = objective.to_json()
    first = next(read_rows(path, drop_cut_off_line=True), None) if path.is_file() else None
    known = None if first is None else first.row.get("objective")
    if is_object(known) and "coefficients" not in known:
        del asked["coefficients"]
    return asked


class AnnotationFile:
    """A file to which annotations are added as comparisons are rated; an existing one is continued.

    Args:
        out: Annotations file.
        objective: Objective to rate by.
        rater: Rater.
        made_of: Provenance of the comparisons, for the header; a file with a different one is not continued.

    Raises:
        InputError: The file was made under other settings, or cannot be written.
    """

    def __init__(
        self, out: str | Path, objective: Objective, rater: Rater, made_of: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self._objective, self._rater = Path(out), objective, rater
        header = {
            "objective": _asked(objective, self.path),
            "rater": rater.name,
            "settings": dict(rater.settings),
            **(made_of or {}),
        }
        # A sheet may be filled in further.
        if not isinstance(rater, HumanRater) and (model := identity_of(rater)):
            header["model"] = model
        self.found: list[Annotation] = []
        """Annotations that were in the file before."""
        if continues(self.path, KIND, header):
            self.found = read_annotations(self.path, drop_cut_off_line=True)
            if isinstance(rater, HumanRater):
                rater.require_kept(self.found)
        self._present = {a.comparison.id for a in self.found}
        self._writer = RecordWriter(self.path, KIND, header)

    def rate(self, comparisons: Sequence[Comparison], *, progress: bool = False) -> list[Annotation]:
        """Have comparisons rated that are not in the file, and add the annotations; each batch is written
        before the next is rated.

        Args:
            comparisons: Comparisons, without duplicates.
            progress: Whether to show a progress bar on standard error.

        Returns:
            The new annotations.

        Raises:
            InputError: The rater fails, or the file cannot be written.
        """
        waiting = [c for c in comparisons if c.id not in self._present]
        new: list[Annotation] = []
        bar = ProgressBar(
            len(comparisons), f"comparisons by {self._rater.name}", unit="comparison",
            done=len(comparisons) - len(waiting), shown=progress,
        )  # fmt: skip
        with bar:
            for start in range(0, len(waiting), self._rater.batch):
                some = waiting[start : start + self._rater.batch]
                try:
                    ratings = self._rater.rate(some, self._objective)
                except InputError as error:
                    raise InputError(
                        f"{error}; {len(self._present)} of {len(comparisons)} annotations are in "
                        f"{self.path}: the same command continues from there"
                    ) from error
                for comparison, rating in zip(some, ratings, strict=True):
                    if rating is not None:
                        new.append(self._annotation(comparison, rating))
                        self._writer.write(new[-1])
                        self._present.add(comparison.id)
                bar.advance(len(some))
        return new

    def _annotation(self, comparison: Comparison, rating: Rating) -> Annotation:
        return Annotation(comparison, self._objective.name, self._rater.name, rating.preference, rating.info)

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def __enter__(self) -> AnnotationFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
