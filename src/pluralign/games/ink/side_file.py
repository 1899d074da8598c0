"""Side files of Ink stories: data that the source cannot express, such as objectives from variables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from pluralign.core import InputError, Objective
from pluralign.games.harms import VARIABLE, read_objectives
from pluralign.games.side_file import SUFFIX, WORDS, read_fields, words_of

_KEYS = ("ink", *WORDS, "max_options", "objectives")


@dataclass(frozen=True)
class SideFile:
    """Contents of an Ink story's side file.

    Args:
        path: Path of the file.
        ink: Path of the compiled story.
        words: Those of title, author, summary and player_character that the file has.
        max_options: Largest number of options of one decision; None if not given.
        objectives: Objectives from counts (`harms.METRICS`) and variables (``variable.NAME``).
    """

    path: Path
    ink: Path
    words: dict[str, str] = field(default_factory=dict[str, str])
    max_options: int | None = None
    objectives: tuple[Objective, ...] = ()


def read_side_file(path: Path) -> SideFile:
    """Read a side file.

    Raises:
        InputError: A field is unknown or has a wrong value; the message names it.
    """
    row = read_fields(path, _KEYS, texts=("ink", *WORDS))
    most = row.get("max_options")
    if most is not None and (type(most) is not int or most < 1):
        raise InputError(
            f"must be a whole number of 1 or more, found {most!r:.60}", path=path, field="max_options"
        )
    try:
        objectives = read_objectives(row.get("objectives", {}), "objectives", variables=True)
    except InputError as error:
        raise InputError(error.message, path=path, field=error.field) from None
    return SideFile(
        path=path,
        ink=path.parent / row.get("ink", path.name.removesuffix(SUFFIX) + ".json"),
        words=words_of(row),
        max_options=most,
        objectives=objectives,
    )


def check_variables(objectives: Collection[Objective], known: Collection[str], path: Path | None) -> None:
    """Check that a story has the variables that objectives use.

    Args:
        objectives: Objectives of a side file.
        known: Names of the story's variables that begin as numbers or truth values.
        path: Path of the side file.

    Raises:
        InputError: A variable does not exist; the message names the first.
    """
    for objective in objectives:
        for metric in objective.coefficients:
            if metric.startswith(VARIABLE) and metric.removeprefix(VARIABLE) not in known:
                there = ", ".join(sorted(known)) or "none"
                raise InputError(
                    f"the story has no numeric variable of this name; it has {there}",
                    path=path,
                    field=f"objectives.{objective.name}.coefficients.{metric}",
                )
