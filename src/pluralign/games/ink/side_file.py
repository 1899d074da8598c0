"""The file beside an Ink story: what its source has no place for, such as objectives from its variables."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Objective
from pluralign.games.harms import BUILTIN_OBJECTIVES, METRICS, VARIABLE
from pluralign.games.side_file import SUFFIX, WORDS, read_fields, words_of

_KEYS = ("ink", *WORDS, "max_options", "objectives")


@dataclass(frozen=True)
class SideFile:
    """What a side file says.

    Args:
        path: the file.
        ink: the compiled story.
        words: title, author, summary and player_character, where given.
        max_options: the most options that one decision can list; None where not given.
        objectives: from counts (`harms.METRICS`) and variables (``variable.NAME``).
    """

    path: Path
    ink: Path
    words: dict[str, str] = field(default_factory=dict[str, str])
    max_options: int | None = None
    objectives: tuple[Objective, ...] = ()


def read_side_file(path: Path) -> SideFile:
    """Read a side file.

    Raises:
        InputError: naming the field and what was expected.
    """
    row = read_fields(path, _KEYS, texts=("ink", *WORDS))
    most = row.get("max_options")
    if most is not None and (type(most) is not int or most < 1):
        raise InputError(
            f"must be a whole number of 1 or more, found {most!r:.60}", path=path, field="max_options"
        )
    return SideFile(
        path=path,
        ink=path.parent / row.get("ink", path.name.removesuffix(SUFFIX) + ".json"),
        words=words_of(row),
        max_options=most,
        objectives=_objectives(path, row.get("objectives", {})),
    )


def check_variables(objectives: Collection[Objective], known: Collection[str], path: Path | None) -> None:
    """See that a story has the variables that objectives are made of.

    Args:
        objectives: of a side file.
        known: the story's variables that begin as numbers or truth values.
        path: the side file.

    Raises:
        InputError: naming the first that it lacks.
    """
    for objective in objectives:
        for metric in objective.coefficients:
            if metric.startswith(VARIABLE) and metric.removeprefix(VARIABLE) not in known:
                there = ", ".join(sorted(known)) or "none"
                raise InputError(
                    f"the story has no such variable that is a number; it has {there}",
                    path=path,
                    field=f"objectives.{objective.name}.coefficients.{metric}",
                )


def _objectives(path: Path, found: Any) -> tuple[Objective, ...]:
    if not isinstance(found, dict):
        raise InputError("must be an object from names to objectives", path=path, field="objectives")
    taken = {objective.name for objective in BUILTIN_OBJECTIVES}
    objectives: list[Objective] = []
    for name, body in found.items():
        where = f"objectives.{name}"
        if name in taken:
            raise InputError("is the name of a built-in objective", path=path, field=where)
        if not isinstance(body, dict) or set(body) != {"description", "coefficients"}:
            raise InputError("must have 'description' and 'coefficients'", path=path, field=where)
        coefficients = _coefficients(path, body["coefficients"], f"{where}.coefficients")
        try:
            objectives.append(Objective(name, str(body["description"]), coefficients))
        except InputError as error:
            raise InputError(error.message, path=path, field=where) from None
    return tuple(objectives)


def _coefficients(path: Path, found: Any, where: str) -> dict[str, float]:
    if not isinstance(found, dict) or not found:
        raise InputError("must be an object from counts to numbers", path=path, field=where)
    for metric, value in found.items():
        if metric not in METRICS and not metric.startswith(VARIABLE):
            raise InputError(
                f"unknown count; known: {VARIABLE}NAME, {', '.join(METRICS)}",
                path=path,
                field=f"{where}.{metric}",
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"must be a number, found {value!r:.60}", path=path, field=f"{where}.{metric}")
    return {metric: float(value) for metric, value in found.items()}
