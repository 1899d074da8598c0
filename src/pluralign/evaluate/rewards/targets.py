"""Steering weights for target levels, from scored samples of the model to be steered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.files import write_json
from pluralign.core.level import Level
from pluralign.data.answers import AnswerSet
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import Scorer
from pluralign.steer.targets import Palette, meet_targets


@dataclass(frozen=True, eq=False)
class ReachedTargets:
    """Result of a search for weights that meet targets on given samples.

    Attributes:
        palette: Solution, or the distance to the targets.
        targets: Smallest acceptable mean of each objective that has one, in the reward's unit.
        at_most: Largest acceptable means.
        exactly: Required means.
        rewards: Reward of every sample, by objective.
        prompts: Number of prompts.
    """

    palette: Palette
    targets: Mapping[str, float]
    at_most: Mapping[str, float]
    exactly: Mapping[str, float]
    rewards: Mapping[str, FloatArray]
    prompts: int

    @property
    def samples(self) -> int:
        """Number of samples of all prompts."""
        return len(next(iter(self.rewards.values())))

    def goals(self, name: str) -> str:
        """Targets of an objective in words, such as ``>= 0.5000``; ``free`` without any."""
        return ", ".join(f"{sign} {level:.4f}" for sign, level in self._levels(name)) or "free"

    def missed(self, name: str) -> float:
        """Distance by which the mean reward at the solution misses an objective's targets; 0 if it meets
        them."""
        gaps = [(sign, level - self.palette.expected[name]) for sign, level in self._levels(name)]
        return max((0.0, *({">=": gap, "<=": -gap, "=": abs(gap)}[sign] for sign, gap in gaps)))

    def _levels(self, name: str) -> list[tuple[str, float]]:
        known = ((">=", self.targets), ("<=", self.at_most), ("=", self.exactly))
        return [(sign, levels[name]) for sign, levels in known if name in levels]

    def save(self, path: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Write a JSON file, with more figures before the solution; return all figures."""
        palette = self.palette
        found = {
            **figures, "prompts": self.prompts, "samples": self.samples, "targets": dict(self.targets),
            "ceilings": dict(self.at_most), "equations": dict(self.exactly),
            "mean": {name: float(column.mean()) for name, column in self.rewards.items()},
            "deviation": {name: float(column.std()) for name, column in self.rewards.items()},
            "reachable": palette.reachable, "expected": dict(palette.expected),
            "shortfall": palette.shortfall, "multipliers": dict(palette.multipliers),
            "weights": None if palette.weights is None else dict(palette.weights),
            "strength": palette.strength, "effective_samples": palette.effective_samples,
        }  # fmt: skip
        write_json(path, found)
        return found


def reach_targets(
    samples: AnswerSet, rewards: Mapping[str, Scorer], levels: Mapping[str, Level], folder: Path, *,
    at_most: Mapping[str, Level] | None = None, exactly: Mapping[str, Level] | None = None,
    dtype: DTypeName = "float32",
) -> ReachedTargets:  # fmt: skip
    """Score samples and find the steering weights that bring mean rewards to target levels; see
    `meet_targets`.

    Args:
        samples: Samples of the model, several per prompt.
        rewards: Reward of each objective.
        levels: Smallest acceptable mean reward, by objective.
        folder: Folder for rewards.jsonl; an interrupted run continues.
        at_most: Largest acceptable mean reward, by objective.
        exactly: Required mean reward, by objective.
        dtype: Precision of the rewards.

    Raises:
        InputError: A target has no reward, every prompt has a single sample, or samples were drawn until one
            was good enough.
    """
    for field, given in (("at_least", levels), ("at_most", at_most), ("exactly", exactly)):
        if unknown := sorted(set(given or {}) - set(rewards)):
            raise InputError(f"'{unknown[0]}' has no reward; there are {', '.join(rewards)}", field=field)
    if not (levels or at_most or exactly):
        raise InputError("give at least one target", field="at_least")
    samples.require_fixed_number()
    answers = list(samples.answers.values())
    sizes = [len(one.completions) for one in answers]
    if max(sizes) < 2:
        raise InputError("has one sample per prompt; targets need several", path=samples.path)
    wanted = [(name, "samples") for name in rewards]
    found = score_sources(rewards, {"samples": answers}, folder / "rewards.jsonl", wanted=wanted, dtype=dtype)
    columns = {name: np.concatenate(found[name, "samples"]) for name in rewards}
    moments = {name: (float(column.mean()), float(column.std())) for name, column in columns.items()}
    targets, most, exact = (
        {name: level.at(*moments[name]) for name, level in (given or {}).items()}
        for given in (levels, at_most, exactly)
    )
    palette = meet_targets(
        columns, targets, np.repeat(np.arange(len(sizes)), sizes), at_most=most, exactly=exact
    )
    return ReachedTargets(palette, targets, most, exact, columns, len(sizes))
