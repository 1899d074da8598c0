"""Comparisons, a rater, and ``annotations.jsonl``, continued after any interruption."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pluralign.annotate.comparisons import Anchor, Group, make_comparisons
from pluralign.annotate.options import compare_options
from pluralign.annotate.rater import Rater
from pluralign.core import Annotation, Comparison, InputError, Objective, Trajectory
from pluralign.core.digests import digest
from pluralign.core.progress import ProgressBar
from pluralign.core.records import RecordWriter, continues, read_annotations, read_trajectories
from pluralign.core.splits import SHARES, split_of

KIND = "annotations"


@dataclass(frozen=True)
class ComparisonSettings:
    """Which comparisons `annotate` makes; see `make_comparisons` and `compare_options`.

    Args:
        of: ``segments`` of trajectories, or the ``options`` of each decision, one step against another. Those
            have no length and no anchor, and are in one split with their decision.
        count: how many; of options as many as whole decisions have, those of most episodes first.
        seed: of the draw.
        length: steps in a segment; None runs to the end.
        anchor: ``same_decision`` or ``any``.
        within_splits: draw both segments from the same split, so that `pluralign.pair`, given the
            same split seed and shares, has none to drop.
        split_seed: of the splits.
        shares: of train, validation and test.
    """

    of: Literal["segments", "options"] = "segments"
    count: int = 1000
    seed: int = 0
    length: int | None = None
    anchor: Anchor = "same_decision"
    within_splits: bool = True
    split_seed: int = 0
    shares: tuple[float, float, float] = SHARES

    def draw(self, trajectories: Sequence[Trajectory]) -> list[Comparison]:
        """The comparisons.

        Raises:
            InputError: a length or an anchor of options, or see `make_comparisons` and `compare_options`.
        """
        if self.of == "options":
            for name, default in (("length", None), ("anchor", "same_decision")):
                if getattr(self, name) != default:
                    raise InputError("does not go with options, which are single steps", field=name)
            return compare_options(trajectories, count=self.count, seed=self.seed)
        return make_comparisons(
            trajectories,
            count=self.count,
            seed=self.seed,
            length=self.length,
            anchor=self.anchor,
            group=self.group(),
        )

    def header(self) -> dict[str, Any]:
        """What the comparisons depend on, as JSON has it."""
        if self.of == "options":
            return {"of": self.of, "count": self.count, "seed": self.seed}
        # Files that were begun before options could be compared have no ``of``.
        return {name: value for name, value in asdict(self).items() if name != "of"}

    def group(self) -> Group | None:
        """The ``group`` to give to `make_comparisons`."""
        if not self.within_splits:
            return None
        return lambda name: split_of(name, seed=self.split_seed, shares=self.shares)


@dataclass(frozen=True)
class AnnotationReport:
    """What a file of annotations holds.

    Args:
        comparisons: that were to be rated.
        annotations: in the file.
        new_annotations: made by this run.
        unanswered: comparisons that the rater gave no answer to.
        preferences: how many first, second and tie.
        malformed_replies: a judge's replies that could not be read.
    """

    comparisons: int
    annotations: int
    new_annotations: int
    unanswered: int
    preferences: Mapping[str, int]
    malformed_replies: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return asdict(self)


def annotate(
    trajectories_path: str | Path,
    out: str | Path,
    objective: Objective,
    rater: Rater,
    *,
    settings: ComparisonSettings | None = None,
    progress: bool = True,
) -> AnnotationReport:
    """Make comparisons of a file's trajectories and have them rated.

    Args:
        trajectories_path: what `collect` wrote.
        out: the annotations' file; one that is there already is continued.
        objective: what to rate by.
        rater: who rates; an `Oracle` is made of the same trajectories.
        settings: None takes the defaults.
        progress: show a bar on standard error.

    Raises:
        InputError: a file cannot be read or written, was made under other settings, or the rater
            cannot go on (what was written stays).
    """
    settings = settings or ComparisonSettings()
    comparisons = settings.draw(read_trajectories(trajectories_path))
    # Not `file_digest`: files that were begun with this digest continue.
    trajectories = digest([Path(trajectories_path).read_bytes()])
    made_of = {"comparisons": settings.header(), "trajectories": trajectories}
    return annotate_comparisons(comparisons, out, objective, rater, made_of=made_of, progress=progress)


def annotate_comparisons(
    comparisons: Sequence[Comparison],
    out: str | Path,
    objective: Objective,
    rater: Rater,
    *,
    made_of: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> AnnotationReport:
    """Have comparisons rated, batch by batch, each batch written before the next is asked.

    Args:
        comparisons: each once.
        out: the annotations' file; one that is there already is continued.
        objective: what to rate by.
        rater: who rates.
        made_of: goes into the header; a file with another is not continued.
        progress: show a bar on standard error.

    Raises:
        InputError: see `annotate`.
    """
    out = Path(out)
    header = {
        "objective": {"name": objective.name, "description": objective.description},
        "rater": rater.name,
        "settings": dict(rater.settings),
        **(made_of or {}),
    }
    present: set[str] = set()
    if continues(out, KIND, header):
        present = {a.comparison.id for a in read_annotations(out, drop_cut_off_line=True)}
    waiting = [c for c in comparisons if c.id not in present]
    new = 0
    bar = ProgressBar(
        len(comparisons), f"comparisons by {rater.name}", unit="comparison",
        done=len(comparisons) - len(waiting), shown=progress,
    )  # fmt: skip
    with RecordWriter(out, KIND, header) as writer, bar:
        for start in range(0, len(waiting), rater.batch):
            some = waiting[start : start + rater.batch]
            try:
                ratings = rater.rate(some, objective)
            except InputError as error:
                raise InputError(
                    f"{error}; {len(present) + new} of {len(comparisons)} annotations are in {out}: "
                    "the same command continues from there"
                ) from error
            for comparison, rating in zip(some, ratings, strict=True):
                if rating is not None:
                    writer.write(
                        Annotation(comparison, objective.name, rater.name, rating.preference, rating.info)
                    )
                    new += 1
            bar.advance(len(some))
    return _report(read_annotations(out), len(comparisons), new)


def _report(annotations: Sequence[Annotation], comparisons: int, new: int) -> AnnotationReport:
    counted = Counter(a.preference for a in annotations)
    return AnnotationReport(
        comparisons=comparisons,
        annotations=len(annotations),
        new_annotations=new,
        unanswered=max(0, comparisons - len(annotations)),
        preferences={p: counted.get(p, 0) for p in ("first", "second", "tie")},
        malformed_replies=sum(len(a.info.get("malformed", ())) for a in annotations),
    )
