"""Sweeps of a steered policy over weightings on a story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, Objective, Policy, SteeringWeights
from pluralign.core.jsonl import Fields
from pluralign.core.progress import ProgressBar
from pluralign.core.records import RecordWriter, continues, read_record_rows
from pluralign.evaluate.play import PolicyResult, evaluate_policy
from pluralign.evaluate.statistics import Estimate
from pluralign.games.game import Game
from pluralign.games.random_play import play_digest
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered import steered

KIND = "sweep"


@dataclass(frozen=True)
class SweepPoint:
    """Results of the steered policy under one weighting.

    Args:
        weights: Weighting.
        returns: Mean return per episode, by objective.
        stderr: Standard error of the mean return, by objective.
        metrics: Mean per episode of each of `harms_table.TABLE_METRICS`.
        episode_returns: Return of each episode, by objective; the k-th episodes of all points have the same
            initial state.
    """

    weights: SteeringWeights
    returns: Mapping[str, float]
    stderr: Mapping[str, float]
    metrics: Mapping[str, Estimate]
    episode_returns: Mapping[str, tuple[float, ...]]

    def returns_array(self, objectives: Sequence[str]) -> npt.NDArray[np.float64]:
        """Returns of the episodes in the order of these objectives, shape (episodes, objectives)."""
        return np.stack([np.asarray(self.episode_returns[o]) for o in objectives], axis=1)

    def to_row(self) -> dict[str, Any]:
        """The point as a JSON object."""
        return {**asdict(self), "weights": dict(self.weights)}

    @classmethod
    def of(cls, weights: SteeringWeights, result: PolicyResult) -> SweepPoint:
        """Mean returns of a policy and their standard errors, as a point."""
        returns = {name: estimate.mean for name, estimate in result.returns.items()}
        stderr = {name: estimate.stderr for name, estimate in result.returns.items()}
        return cls(weights, returns, stderr, result.metrics, result.episode_returns)

    @classmethod
    def from_fields(cls, fields: Fields) -> SweepPoint:
        """The point in a JSON object.

        Raises:
            InputError: The object is invalid; the error names file, row and field.
        """
        episodes = fields.get("episode_returns", dict)
        try:
            return cls(
                weights=SteeringWeights(fields.numbers("weights")),
                returns=fields.numbers("returns"),
                stderr=fields.numbers("stderr"),
                metrics={m: Estimate.from_json(e) for m, e in fields.get("metrics", dict).items()},
                episode_returns={o: tuple(map(float, values)) for o, values in episodes.items()},
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError) and error.path is not None:
                raise
            raise InputError(f"is no sweep point ({error})", path=fields.path, row=fields.number) from error


def play_weightings(
    make_game: Callable[[], Game],
    policies: Mapping[str, Policy],
    weights_grid: Sequence[SteeringWeights],
    *,
    power: float = GEOMETRIC,
    episodes: int,
    seed: int,
    objectives: Sequence[Objective],
    path: str | Path | None = None,
    cards: Mapping[str, str] | None = None,
    max_steps: int = 200,
    greedy: bool = False,
    batch: int = 64,
    progress: bool = True,
) -> list[SweepPoint]:
    """Play the steered policy under every weighting, with the same seeds for all.

    Args:
        make_game: Function that makes a new game.
        policies: Policies by objective.
        weights_grid: Weightings, in the order of play.
        power: Power of the mixture (`steer.mix_log_probs`).
        episodes: Number of episodes per weighting, at least two.
        seed: Random seed of the episodes.
        objectives: Objectives whose returns are measured.
        path: JSON-lines file to which each point is written; points that are in it are not played again.
        cards: Digest of each trained policy's card, by objective, which changes with its weights: a file of
            others is not continued. A policy without one is known by its name only.
        max_steps: Number of steps after which an episode is truncated.
        greedy: Whether to take the most likely option instead of sampling.
        batch: Number of episodes played at once.
        progress: Whether to show a progress bar.

    Raises:
        InputError: The grid is empty, a weight names an unknown objective, or the file is that of another
            sweep.
    """
    if not weights_grid:
        raise InputError("a sweep needs at least one weighting", field="weights_grid")
    for weights in weights_grid:
        weights.require_known(list(policies))
    settings = {
        "story": make_game().info.name,
        "policies": {o: p.name for o, p in policies.items()},
        "objectives": [o.name for o in objectives],
        "coefficients": [dict(o.coefficients) for o in objectives],
        # JSON has no infinity.
        "power": str(float(power)),
        "episodes": episodes,
        "seed": seed,
        "max_steps": max_steps,
        "greedy": greedy,
        **({"cards": dict(cards)} if cards else {}),
        "play": play_digest(make_game()),
    }
    known: dict[tuple[float, ...], SweepPoint] = {}
    if path is not None and continues(path, KIND, settings):
        known = {_key(point.weights, list(policies)): point for point in read_sweep(path)}
    points: list[SweepPoint] = []
    writer = None if path is None else RecordWriter(path, KIND, settings)
    with (
        writer or nullcontext(),
        ProgressBar(len(weights_grid), "weightings", unit="weighting", shown=progress) as bar,
    ):
        for weights in weights_grid:
            key = _key(weights, list(policies))
            if key not in known:
                result = evaluate_policy(
                    make_game,
                    steered(policies, weights, power),
                    episodes=episodes,
                    seed=seed,
                    objectives=objectives,
                    max_steps=max_steps,
                    greedy=greedy,
                    batch=batch,
                )
                known[key] = SweepPoint.of(weights, result)
                if writer is not None:
                    writer.write_row(known[key].to_row())
            points.append(known[key])
            bar.advance()
    return points


def read_sweep(path: str | Path) -> list[SweepPoint]:
    """Points in a sweep's file.

    Raises:
        InputError: The file is invalid; the error names file, row and field.
    """
    rows = read_record_rows(path, KIND, drop_cut_off_line=True)
    return [SweepPoint.from_fields(fields) for fields in rows]


def _key(weights: SteeringWeights, objectives: Sequence[str]) -> tuple[float, ...]:
    return tuple(round(float(w), 9) for w in weights.aligned_to(objectives))
