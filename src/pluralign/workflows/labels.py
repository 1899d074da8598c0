"""A rater's labels of options: side files that add them to a story, and reports of their quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pluralign.annotate.agreement import Agreement
from pluralign.annotate.label_agreement import LabelAgreement
from pluralign.collect.collector import LAGGED
from pluralign.core import Annotation, InputError, Objective, Trajectory
from pluralign.core.records import read_header
from pluralign.games.choicescript.load import list_stories
from pluralign.games.labelled.file import LabelledFile, read_labelled_file, same_files, write_labelled_file
from pluralign.games.labelled.labels import read_labels
from pluralign.games.open import open_named, open_story
from pluralign.games.side_file import SUFFIX, names_story
from pluralign.workflows.stages import Say


def plan_side_file(story: str, trajectories: Path, out: Path, objective: Objective) -> LabelledFile:
    """Plan the side file that adds labels to a story; nothing is written.

    The side file is next to the labels and has the story's name. If it exists, the labels are added to it.

    Args:
        story: Story as for `open_story`; if it is a side file, its own story and labels are kept.
        trajectories: File of trajectories of this story.
        out: File of annotations that will contain the labels.
        objective: Objective of the labels.

    Raises:
        InputError: The story cannot be opened or differs from that of the trajectories, or the side file
            belongs to another story or already has other labels for this objective.
    """
    source = Path(story)
    named = read_labelled_file(source) if names_story(source) else None
    # Without labels, since these may be the ones to be replaced.
    loaded = open_story(story) if named is None else open_named(named)
    header = read_header(trajectories, "trajectories")
    if isinstance(header.get("story"), list):
        raise InputError("has trajectories of several games; a side file is for one", path=trajectories)
    game = loaded.make_game()
    game.reset(0)
    opening = None if game.decision is None else game.decision.key
    if (header.get("first_decision") or opening) != opening:
        raise InputError(f"'{loaded.info.name}' does not begin as these trajectories do", field="story")
    path = out.parent / f"{loaded.info.name if named is None else named.name}{SUFFIX}"
    planned = LabelledFile(path, story if story in list_stories() else source)
    if named is not None:
        planned = replace(named, path=path)
    if path.exists():
        planned = _joined(planned, path)
    others = [label for label in planned.labels if not same_files([label], [out])]
    for label in others:
        if read_labels(label).asked.name == objective.name:
            raise InputError(
                f"already has labels for '{objective.name}' in {label}; remove them or choose another folder",
                path=path,
                field="labels",
            )
    return replace(planned, labels=(*others, out))


def _joined(planned: LabelledFile, path: Path) -> LabelledFile:
    if not names_story(path):
        raise InputError("is the side file of an Ink story; choose another folder", path=path)
    found = read_labelled_file(path)
    if not same_files([found.story], [planned.story]) or found.compatible != planned.compatible:
        raise InputError(
            f"is of another story, {found.story}; choose another folder", path=path, field="story"
        )
    more = [label for label in planned.labels if not any(same_files([label], [old]) for old in found.labels)]
    return replace(found, labels=(*found.labels, *more), names={**planned.names, **found.names})


def add_to_side_file(file: LabelledFile) -> list[str]:
    """Write a planned side file; labels that were added to it in the meantime are kept.

    Returns:
        Names of the objectives that it labels.
    """
    if file.path.exists():
        file = _joined(file, file.path)
    write_labelled_file(file)
    return [read_labels(label, file.names.get(label, "")).objective.name for label in file.labels]


def is_lagged(file: Path, trajectories: Sequence[Trajectory]) -> bool:
    """Whether a step's counts are those of the state before it instead of the state after its action."""
    header = read_header(file, "trajectories")
    return header.get("counts") == LAGGED or any(t.info.get("counts") == LAGGED for t in trajectories)


def report_coverage(annotations: Sequence[Annotation], trajectories: Sequence[Trajectory], say: Say) -> None:
    """Report how many of the trajectories' decisions and steps have labels."""
    steps = [step for t in trajectories for step in t.steps if len(step.decision.options) > 1]
    labelled = {annotation.comparison.first.steps[0].decision.key for annotation in annotations}
    met = {step.decision.key for step in steps}
    covered = sum(step.decision.key in labelled for step in steps)
    say(
        f"labels for {len(met & labelled)} of {len(met)} decisions, "
        f"{covered} of {len(steps)} steps with a choice"
    )


def report_kappas(found: Agreement, say: Say) -> None:
    """Report the agreement of two raters."""
    for label, kappa in (("all", found.all), ("without ties", found.without_ties)):
        if kappa is not None:
            say(
                f"kappa, {label}: {kappa.kappa:.3f} (95 %: {kappa.low:.3f} to {kappa.high:.3f}), "
                f"{kappa.comparisons} comparisons, {100 * kappa.observed:.0f} % agree"
            )


def report_label_agreement(found: LabelAgreement | None, objective: Objective, say: Say) -> None:
    """Report the agreement of a rater with a game's labels."""
    if found is None:
        say(
            "nothing to compare these annotations with: the trajectories have no labels for "
            f"'{objective.name}', or took no two options that were compared"
        )
        return
    say("agreement with the labels that the trajectories have:")
    report_kappas(found.agreement, say)
    if found.right is not None:
        right = found.right
        say(
            f"right where labels differ: {100 * right.share:.0f} % (95 %: {100 * right.low:.0f} to "
            f"{100 * right.high:.0f} %), {right.comparisons} comparisons of {right.decisions} decisions"
        )
