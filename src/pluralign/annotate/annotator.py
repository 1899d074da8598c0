"""Annotation of trajectories: comparisons are rated and written to a file; interrupted runs continue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pluralign.annotate.annotation_file import AnnotationFile
from pluralign.annotate.comparisons import Anchor, Group, make_comparisons
from pluralign.annotate.options import compare_options
from pluralign.annotate.rater import Rater
from pluralign.core import Annotation, Comparison, InputError, Objective, Trajectory
from pluralign.core.checks import checked, require
from pluralign.core.digests import digest
from pluralign.core.records import read_annotations, read_header, read_trajectories
from pluralign.core.splits import SHARES, split_of


@dataclass(frozen=True)
class ComparisonSettings:
    """Comparisons to make; see `make_comparisons` and `compare_options`.

    Args:
        of: Kind of comparison: ``segments`` of trajectories, or the ``options`` of each decision. Options
            have no length and no anchor, and are in the split of their decision.
        count: Maximum number of comparisons. Options are compared decision by decision, the decisions of most
            episodes first.
        seed: Random seed of the draw.
        length: Steps in a segment; None extends each segment to the end of its episode.
        anchor: Place where segments start: the ``same_decision``, or ``any`` step.
        within_splits: Whether both segments come from the same split, so that `pluralign.pair` drops no pair
            if it is given the same split seed and shares.
        split_seed: Seed of the splits.
        shares: Shares of train, validation and test.
    """

    of: Literal["segments", "options"] = "segments"
    count: int = 1000
    seed: int = 0
    length: int | None = None
    anchor: Anchor = "same_decision"
    within_splits: bool = True
    split_seed: int = 0
    shares: tuple[float, float, float] = SHARES

    def __post_init__(self) -> None:
        require(self, {})

    def draw(self, trajectories: Sequence[Trajectory]) -> list[Comparison]:
        """Draw the comparisons.

        Raises:
            InputError: Options are given a length or an anchor; also see `make_comparisons` and
                `compare_options`.
        """
        if self.of == "options":
            for name, default in (("length", None), ("anchor", "same_decision")):
                if getattr(self, name) != default:
                    raise InputError("does not apply to options, which are single steps", field=name)
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
        """The settings that the comparisons depend on, as JSON values."""
        if self.of == "options":
            return {"of": self.of, "count": self.count, "seed": self.seed}
        # Files from before options could be compared have no ``of``.
        return {name: value for name, value in asdict(self).items() if name != "of"}

    def group(self) -> Group | None:
        """The ``group`` argument of `make_comparisons`."""
        if not self.within_splits:
            return None
        return lambda name: split_of(name, seed=self.split_seed, shares=self.shares)


@dataclass(frozen=True)
class AnnotationReport:
    """Counts of an annotations file.

    Args:
        comparisons: Number of comparisons to rate.
        annotations: Number of annotations in the file.
        new_annotations: Number of annotations made by this run.
        unanswered: Number of comparisons without an answer from the rater.
        preferences: Number of annotations by preference: first, second, tie.
        malformed_replies: Number of a judge's replies that could not be parsed.
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


@checked
def annotate(
    trajectories_path: str | Path,
    out: str | Path,
    objective: Objective | str,
    rater: Rater,
    *,
    settings: ComparisonSettings | None = None,
    progress: bool = True,
) -> AnnotationReport:
    """Make comparisons from a file of trajectories and have them rated.

    Args:
        trajectories_path: Trajectories file, as written by `collect`.
        out: Annotations file; an existing one is continued.
        objective: Objective to rate by, or its name in the trajectories file.
        rater: Rater; an `Oracle` must be made from the same trajectories.
        settings: Comparisons to make; None uses the defaults.
        progress: Whether to show a progress bar on standard error.

    Raises:
        InputError: A file cannot be read or written, was made under other settings, or the rater fails (the
            annotations written so far stay).
    """
    settings = settings or ComparisonSettings()
    if isinstance(objective, str):
        objective = recorded_objective(trajectories_path, objective)
    comparisons = settings.draw(read_trajectories(trajectories_path))
    # Not `file_digest`: existing files with this digest must continue.
    trajectories = digest([Path(trajectories_path).read_bytes()])
    made_of = {"comparisons": settings.header(), "trajectories": trajectories}
    return annotate_comparisons(comparisons, out, objective, rater, made_of=made_of, progress=progress)


def recorded_objective(trajectories_path: str | Path, name: str) -> Objective:
    """Read an objective from the header of a trajectories file.

    Raises:
        InputError: The file has no objective of this name.
    """
    header = read_header(trajectories_path, "trajectories")
    recorded = {o["name"]: o for o in header.get("objectives", [])}
    if name not in recorded:
        raise InputError(
            f"unknown objective '{name}'; the trajectories have {', '.join(sorted(recorded)) or 'none'}",
            path=trajectories_path,
            field="objective",
        )
    return Objective(**recorded[name])


def recorded_objectives(trajectories_path: str | Path, names: Sequence[str] = ()) -> list[Objective]:
    """Read objectives from the header of a trajectories file.

    Args:
        trajectories_path: The file.
        names: Names of the objectives; all of the file if there are none.

    Raises:
        InputError: The file has no objective, or none of one of the names.
    """
    found = read_header(trajectories_path, "trajectories").get("objectives", [])
    if not found:
        raise InputError("the trajectories were collected without objectives", path=trajectories_path)
    wanted = names or [row["name"] for row in found]
    return [recorded_objective(trajectories_path, name) for name in wanted]


@checked
def annotate_comparisons(
    comparisons: Sequence[Comparison],
    out: str | Path,
    objective: Objective,
    rater: Rater,
    *,
    made_of: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> AnnotationReport:
    """Have comparisons rated in batches; each batch is written before the next is rated.

    Args:
        comparisons: Comparisons to rate, without duplicates.
        out: Annotations file; an existing one is continued.
        objective: Objective to rate by.
        rater: Rater.
        made_of: Provenance of the comparisons, for the header; a file with a different one is not continued.
        progress: Whether to show a progress bar on standard error.

    Raises:
        InputError: See `annotate`.
    """
    with AnnotationFile(out, objective, rater, made_of) as file:
        new = len(file.rate(comparisons, progress=progress))
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
