"""Labels that a rater gave to options: the side file that puts them to their story, and what is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pluralign.annotate import Agreement, LabelAgreement
from pluralign.cli.common import say, wrote
from pluralign.core import InputError, Objective
from pluralign.core.records import read_header
from pluralign.games.choicescript import list_stories
from pluralign.games.labelled import (
    LabelledFile,
    read_labelled_file,
    read_labels,
    same_files,
    write_labelled_file,
)
from pluralign.games.open import make_game, open_story
from pluralign.games.side_file import SUFFIX, names_story


def plan_side_file(story: str, trajectories: Path, out: Path, objective: Objective) -> LabelledFile:
    """The side file of a story with the labels that are to be written; nothing is written yet.

    It lies beside the labels and has the story's name. One that is there already gets them, too.

    Args:
        story: see `open_story`; of a side file with labels its story and labels are taken over.
        trajectories: of this story.
        out: the annotations' file.
        objective: that they are of.

    Raises:
        InputError: the story cannot be opened, is not that of the trajectories, or the place is taken: by
            another story's side file, or by other labels of this objective.
    """
    loaded = open_story(story)
    game = make_game(loaded)
    game.reset(0)
    opening = None if game.decision is None else game.decision.key
    if read_header(trajectories, "trajectories").get("first_decision", opening) != opening:
        raise InputError(f"'{loaded.info.name}' does not begin as these trajectories do", field="story")
    source = Path(story)
    path = out.parent / f"{loaded.info.name}{SUFFIX}"
    planned = LabelledFile(path, story if story in list_stories() else source)
    if names_story(source):
        planned = replace(read_labelled_file(source), path=path)
    if path.exists():
        planned = _joined(planned, path)
    others = [label for label in planned.labels if not same_files([label], [out])]
    for label in others:
        if read_labels(label).asked.name == objective.name:
            raise InputError(
                f"has labels for '{objective.name}' already, in {label}: take them out, or write elsewhere",
                path=path,
                field="labels",
            )
    return replace(planned, labels=(*others, out))


def _joined(planned: LabelledFile, path: Path) -> LabelledFile:
    if not names_story(path):
        raise InputError("is the side file of an Ink story: write the annotations elsewhere", path=path)
    found = read_labelled_file(path)
    if not same_files([found.story], [planned.story]) or found.compatible != planned.compatible:
        raise InputError(
            f"is of another story, {found.story}: write the annotations elsewhere", path=path, field="story"
        )
    more = [label for label in planned.labels if not any(same_files([label], [old]) for old in found.labels)]
    return replace(found, labels=(*found.labels, *more))


def give_side_file(file: LabelledFile) -> None:
    """Write a side file that was planned, and tell how to go on."""
    write_labelled_file(file)
    names = ", ".join(read_labels(label).objective.name for label in file.labels)
    wrote(file.path, f"the story with {names}: --story {file.path}")


def say_kappas(found: Agreement) -> None:
    """Tell how far two raters agree."""
    for label, kappa in (("all", found.all), ("without ties", found.without_ties)):
        if kappa is not None:
            say(
                f"kappa, {label}: {kappa.kappa:.3f} (95 %: {kappa.low:.3f} to {kappa.high:.3f}), "
                f"{kappa.comparisons} comparisons, {100 * kappa.observed:.0f} % agree"
            )


def say_label_agreement(found: LabelAgreement | None, objective: Objective) -> None:
    """Tell how far a rater agrees with a game's labels."""
    if found is None:
        say(f"the trajectories have no labels for '{objective.name}' to hold these annotations against")
        return
    say("agreement with the labels that the trajectories have:")
    say_kappas(found.agreement)
    if found.right is not None:
        right = found.right
        say(
            f"right where labels differ: {100 * right.share:.0f} % (95 %: {100 * right.low:.0f} to "
            f"{100 * right.high:.0f} %), {right.comparisons} comparisons of {right.decisions} decisions"
        )
