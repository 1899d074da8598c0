"""Annotation of a file of trajectories, and the side file with which labels of options can be played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pluralign.annotate.annotator import ComparisonSettings, annotate, recorded_objective
from pluralign.annotate.label_agreement import label_agreement
from pluralign.annotate.open import open_rater
from pluralign.core import InputError
from pluralign.core.records import read_annotations, read_trajectories
from pluralign.workflows.labels import (
    add_to_side_file,
    is_lagged,
    plan_side_file,
    report_coverage,
    report_label_agreement,
)
from pluralign.workflows.stages import Say


def annotate_file(
    file: str | Path,
    objective: str,
    rater: str,
    out: str | Path,
    *,
    comparisons: ComparisonSettings = ComparisonSettings(),  # noqa: B008 - frozen
    story: str | None = None,
    seed: int = 0,
    say: Say = print,
    **options: Any,
) -> dict[str, Any]:
    """Compare segments of a file's trajectories, or the options of their decisions, by one objective.

    Annotations of options are labels: with ``story``, a side file next to them adds them to the story as the
    objective ``judged_NAME``, and their agreement with labels that the trajectories have is measured.

    Args:
        file: File of trajectories.
        objective: Name of an objective that the trajectories were collected with.
        rater: Rater, as for `open_rater`.
        out: File of annotations to write.
        comparisons: Comparisons to make.
        story: Story that the trajectories are from; None writes no side file.
        seed: Random seed of the oracle's noise and of bootstraps.
        say: Function that reports what was found and written.
        options: Further arguments of `open_rater`.

    Returns:
        Counts of annotations, and the agreement with labels, as JSON values.

    Raises:
        InputError: The file or the story cannot be used, the rater is unknown, or the labels cannot be added.
    """
    file, out = Path(file), Path(out)
    trajectories, wanted = read_trajectories(file), recorded_objective(file, objective)
    of_options = comparisons.of == "options"
    if story is not None and not of_options:
        raise InputError("requires --comparisons.of options", field="story")
    lagged = of_options and is_lagged(file, trajectories)
    if lagged and rater == "oracle":
        raise InputError(
            "its steps count what led to them, as MACHIAVELLI's own code does, and so cannot label options",
            path=file,
        )
    side = None if story is None else plan_side_file(story, file, out, wanted)
    drawn = comparisons.draw(trajectories) if rater.startswith("human:") else ()
    opened = open_rater(
        rater, trajectories=trajectories, comparisons=drawn, seed=seed, length=comparisons.length, **options
    )
    report = annotate(file, out, wanted, opened, settings=comparisons)
    if report.unanswered:
        why = ": an episode was cut off, or its last reward is not known"
        why = why if rater == "oracle" and not of_options else ""
        say(f"{report.unanswered} comparisons have no answer{why}")
    if report.malformed_replies:
        say(f"{report.malformed_replies} malformed replies")
    say(f"wrote {out}  ({report.annotations} annotations, {report.preferences.get('tie', 0)} of them ties)")
    figures = report.as_json()
    if not of_options:
        return figures
    annotations = read_annotations(out)
    report_coverage(annotations, trajectories, say)
    if side is not None and report.annotations:
        names = ", ".join(add_to_side_file(side))
        say(f"wrote {side.path}  (the story with {names}: --story {side.path})")
    elif side is not None:
        say("no side file: there are no annotations")
    if rater != "oracle" and not lagged:
        found = label_agreement(annotations, trajectories, wanted, seed=seed)
        report_label_agreement(found, wanted, say)
        figures["agreement_with_labels"] = found and found.as_json()
    return figures
