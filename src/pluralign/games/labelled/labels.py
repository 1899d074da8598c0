"""What a rater thinks of the options of decisions, from ``annotations.jsonl``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pluralign.core import Annotation, InputError, Objective
from pluralign.core.records import read_annotations, read_header
from pluralign.games.harms import JUDGED

_WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}

Values = Mapping[int, float]
"""From -1 to 1, by the option's index."""


@dataclass(frozen=True, eq=False)
class Labels:
    """A file's labels.

    Args:
        path: the file.
        asked: the objective that was asked about.
        rater: who answered.
        values: by the decision's key: the share of its rivals that each option beats, none being -1, all 1.
    """

    path: Path
    asked: Objective
    rater: str
    values: Mapping[str, Values]

    @property
    def metric(self) -> str:
        """What a step that takes an option counts."""
        return JUDGED + self.asked.name

    @property
    def objective(self) -> Objective:
        """``judged_NAME``: more of what the rater prefers."""
        text = f"As {self.rater.removeprefix('judge:')} sees it: {self.asked.description}"
        return Objective(f"judged_{self.asked.name}", text, {self.metric: 1.0})


def read_labels(path: Path) -> Labels:
    """Read annotations whose comparisons are of two options of one decision.

    Raises:
        InputError: there is no such file, it holds no annotations, several raters' or objectives', or a
            comparison of anything else.
    """
    asked = _asked(path)
    annotations = read_annotations(path)
    if not annotations:
        raise InputError("holds no annotations", path=path)
    raters = sorted({annotation.rater for annotation in annotations})
    if len(raters) > 1:
        raise InputError(f"expected one rater, found {', '.join(raters)}", path=path, field="rater")
    votes: dict[str, dict[tuple[int, int], list[float]]] = {}
    for annotation in annotations:
        if annotation.objective != asked.name:
            raise InputError(
                f"expected {asked.name} as in the header, found {annotation.objective}",
                path=path,
                field="objective",
            )
        key, first, second = _options(annotation, path)
        worth = _WORTH[annotation.preference]
        duels = votes.setdefault(key, {})
        duels.setdefault((first, second), []).append(worth)
        duels.setdefault((second, first), []).append(1 - worth)
    return Labels(path, asked, raters[0], {key: _values(duels) for key, duels in votes.items()})


def digest_of(labels: Sequence[Labels]) -> str:
    """A digest of what labels say; empty where there are none."""
    if not labels:
        return ""
    told = {found.metric: {key: dict(values) for key, values in found.values.items()} for found in labels}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


def _asked(path: Path) -> Objective:
    found = read_header(path, "annotations").get("objective")
    if not isinstance(found, dict) or not {"name", "description"} <= set(found):
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
        raise InputError(f"compares no two options of one decision: {comparison.id}", path=path)
    return first.decision.key, first.action, second.action


def _values(duels: Mapping[tuple[int, int], Sequence[float]]) -> Values:
    won: dict[int, list[float]] = {}
    for (option, _), worths in duels.items():
        won.setdefault(option, []).append(fmean(worths))
    return {option: 2 * fmean(shares) - 1 for option, shares in won.items()}
