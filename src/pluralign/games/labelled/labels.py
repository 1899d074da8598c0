"""A rater's values of the options of decisions, from ``annotations.jsonl``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pluralign.core import Annotation, InputError, Objective
from pluralign.core.jsonl import is_object
from pluralign.core.records import read_annotations, read_header
from pluralign.games.harms import JUDGED

_WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}

Values = Mapping[int, float]
"""Values from -1 to 1, by index of the option."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of a file.

    Args:
        path: Path of the file.
        asked: Objective that the rater was asked about.
        rater: Name of the rater.
        values: Values of the options by the decision's key: the share of the other options that an option
            beats, scaled to -1 (none) to 1 (all).
        name: Name of the objective that rewards them; ``judged_NAME`` by default, after the objective asked.
    """

    path: Path
    asked: Objective
    rater: str
    values: Mapping[str, Values]
    name: str = ""

    @property
    def metric(self) -> str:
        """Name of the count of a step that takes a labelled option."""
        return JUDGED + self.asked.name

    @property
    def objective(self) -> Objective:
        """The objective that rewards what the rater prefers."""
        text = f"As {self.rater.removeprefix('judge:')} sees it: {self.asked.description}"
        return Objective(self.name or f"judged_{self.asked.name}", text, {self.metric: 1.0})


def read_labels(path: Path, name: str = "") -> Labels:
    """Read annotations that compare two options of one decision.

    Args:
        path: File of annotations.
        name: Name of their objective; see `Labels`.

    Raises:
        InputError: The file does not exist, is empty, holds annotations of several raters or objectives, or
            compares other segments.
    """
    asked = _asked(path)
    annotations = read_annotations(path)
    if not annotations:
        raise InputError("has no annotations", path=path)
    raters = sorted({annotation.rater for annotation in annotations})
    if len(raters) > 1:
        raise InputError(f"expected one rater, found {', '.join(raters)}", path=path, field="rater")
    for annotation in annotations:
        if annotation.objective != asked.name:
            raise InputError(
                f"expected {asked.name} as in the header, found {annotation.objective}",
                path=path,
                field="objective",
            )
    return Labels(path, asked, raters[0], option_values(annotations, path), name)


def option_values(annotations: Iterable[Annotation], path: Path) -> dict[str, Values]:
    """Values of options by the decision's key; see `Labels`.

    Args:
        annotations: Annotations of one rater for one objective.
        path: Their file, for error messages.

    Raises:
        InputError: One does not compare two options of a decision.
    """
    votes: dict[str, dict[tuple[int, int], list[float]]] = {}
    for annotation in annotations:
        key, first, second = _options(annotation, path)
        worth = _WORTH[annotation.preference]
        duels = votes.setdefault(key, {})
        duels.setdefault((first, second), []).append(worth)
        duels.setdefault((second, first), []).append(1 - worth)
    return {key: _values(duels) for key, duels in votes.items()}


def digest_of(labels: Sequence[Labels]) -> str:
    """Digest of the labels' values; empty without labels."""
    if not labels:
        return ""
    content = {found.metric: {key: dict(values) for key, values in found.values.items()} for found in labels}
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def _asked(path: Path) -> Objective:
    found = read_header(path, "annotations").get("objective")
    if not is_object(found) or not {"name", "description"} <= set(found):
        raise InputError("must have a name and a description", path=path, row=1, field="objective")
    try:
        return Objective(str(found["name"]), str(found["description"]))
    except InputError as error:
        raise InputError(error.message, path=path, row=1, field="objective") from None


def _options(annotation: Annotation, path: Path) -> tuple[str, int, int]:
    comparison = annotation.comparison
    if (len(comparison.first.steps), len(comparison.second.steps)) != (1, 1):
        raise InputError(
            f"compares more than single steps: {comparison.id}; annotate with --comparisons.of options",
            path=path,
        )
    first, second = comparison.first.steps[0], comparison.second.steps[0]
    if first.decision.key != second.decision.key or first.action == second.action:
        raise InputError(f"does not compare two options of one decision: {comparison.id}", path=path)
    return first.decision.key, first.action, second.action


def _values(duels: Mapping[tuple[int, int], Sequence[float]]) -> Values:
    won: dict[int, list[float]] = {}
    for (option, _), worths in duels.items():
        won.setdefault(option, []).append(fmean(worths))
    return {option: 2 * fmean(shares) - 1 for option, shares in won.items()}
