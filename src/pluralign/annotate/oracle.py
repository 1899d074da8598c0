"""The oracle: a rater that knows the returns and makes errors with a given probability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pluralign.annotate.options import steps_taken
from pluralign.annotate.rater import Rating
from pluralign.core import Comparison, InputError, Objective, Segment, Trajectory
from pluralign.core.checks import checked
from pluralign.core.option_segments import is_option
from pluralign.core.preference import Preference
from pluralign.core.returns import TIE, last_reward_known, step_reward
from pluralign.core.splits import seed_for


@dataclass(frozen=True)
class Noise:
    """Noise of an oracle. Ties are always rated as ties.

    Args:
        flip: Probability that the label is flipped, 0 to 0.5.
        rationality: Beta of the Boltzmann (Bradley-Terry) rater, which prefers the first with probability
            sigmoid(beta (R_first - R_second)); None always prefers the better one.
    """

    flip: float = 0.0
    rationality: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 0.5:
            raise InputError(f"expected 0 to 0.5, found {self.flip}", field="flip")
        if self.rationality is not None and not 0 <= self.rationality < math.inf:
            raise InputError(f"expected a number from 0 up, found {self.rationality}", field="rationality")


def oracle(
    comparison: Comparison,
    objective: Objective,
    trajectories: Mapping[str, Trajectory],
    *,
    noise: Noise | None = None,
    seed: int = 0,
) -> Rating:
    """Compare the objective's returns over the two segments.

    The noise depends only on the seed, the objective and the two segments, not on which is listed first or on
    earlier ratings.

    Args:
        comparison: Comparison to rate.
        objective: Objective of the returns; see `step_reward`.
        trajectories: Trajectories by id; segments read from a file have no counts of their own.
        noise: Noise; None for no errors.
        seed: Random seed of the noise.

    Returns:
        The rating; ``info`` contains both returns, and ``erred`` if the noise changed the answer.

    Raises:
        InputError: A trajectory is missing or is not the one that was compared, or the objective's rewards
            are not known.
    """
    returns = [_return(segment, objective, trajectories) for segment in (comparison.first, comparison.second)]
    return _rating(comparison, objective, returns, noise or Noise(), seed)


def _rating(
    comparison: Comparison, objective: Objective, returns: Sequence[float], noise: Noise, seed: int
) -> Rating:
    first, second = returns
    info: dict[str, Any] = {"returns": [first, second]}
    if abs(first - second) <= TIE:
        return Rating("tie", info)
    a, b = sorted((comparison.first.id, comparison.second.id))
    rng = np.random.default_rng(seed_for(f"{objective.name}\0{a}\0{b}", seed))
    wrong = rng.random() < noise.flip
    if noise.rationality is not None:
        # Probability that the worse one is preferred; written so that it cannot overflow.
        wrong ^= rng.random() < np.exp(-np.logaddexp(0.0, noise.rationality * abs(first - second)))
    if wrong:
        info["erred"] = True
    prefers_first = (first > second) != wrong
    preference: Preference = "first" if prefers_first else "second"
    return Rating(preference, info)


class Oracle:
    """`oracle` as a `Rater`. For comparisons of options, it compares the mean rewards of the steps that took
    them; it gives no answer if only one of the options was taken. Nor does it if a segment is a last step of
    an imported episode whose reward is not known (`last_reward_known`), or if it extends to the end of an
    episode that was cut off: what would have followed is missing in its return.

    Args:
        trajectories: Trajectories that the comparisons are made from.
        noise: Noise; None for no errors.
        seed: Random seed of the noise.
        length: Steps in a segment, where the comparisons were made with a length; a segment that has them is
            whole, even if its episode was cut off right after it.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=[score]))
        >>> compared = pl.make_comparisons(played, count=5, seed=0)
        >>> len(pl.Oracle(played).rate(compared, score))
        5
    """

    name = "oracle"
    batch = 256

    @checked
    def __init__(
        self, trajectories: Sequence[Trajectory], *, noise: Noise | None = None, seed: int = 0,
        length: int | None = None,
    ) -> None:  # fmt: skip
        self._trajectories = {t.id: t for t in trajectories}
        self._taken = steps_taken(trajectories)
        self._noise, self._seed, self._length = noise or Noise(), seed, length

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        # Files of earlier versions, which labelled what was cut off, must not continue.
        cut_off = any(one.truncated for one in self._trajectories.values())
        return {
            **asdict(self._noise), "seed": self._seed, **({"cut_off": "no answer"} if cut_off else {})
        }  # fmt: skip

    @checked
    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate` and `oracle`."""
        return [self._rate(comparison, objective) for comparison in comparisons]

    def _rate(self, comparison: Comparison, objective: Objective) -> Rating | None:
        segments = (comparison.first, comparison.second)
        if not all(map(is_option, segments)):
            if any(self._is_unknown(segment, objective) for segment in segments):
                return None
            return oracle(comparison, objective, self._trajectories, noise=self._noise, seed=self._seed)
        steps = [self._taken.get((s.steps[0].decision.key, s.steps[0].action)) for s in segments]
        rewards = [step_reward(step, objective) for step in steps if step is not None]
        if len(rewards) < len(steps):
            return None
        return _rating(comparison, objective, rewards, self._noise, self._seed)

    def _is_unknown(self, segment: Segment, objective: Objective) -> bool:
        """Whether it is not known what a segment led to."""
        trajectory = self._trajectories.get(segment.trajectory_id)
        if trajectory is None or segment.stop < len(trajectory.steps):
            return False
        if trajectory.truncated and len(segment.steps) != self._length:
            return True
        return len(segment.steps) == 1 and not last_reward_known(trajectory, objective)


def _return(segment: Segment, objective: Objective, trajectories: Mapping[str, Trajectory]) -> float:
    trajectory = trajectories.get(segment.trajectory_id)
    if trajectory is None:
        raise InputError(f"trajectory {segment.trajectory_id!r} is not among those given")
    steps = trajectory.steps[segment.start : segment.stop]
    same = len(steps) == len(segment.steps) and all(
        a.action == b.action and a.decision == b.decision for a, b in zip(steps, segment.steps, strict=True)
    )
    if not same:
        raise InputError(f"trajectory {segment.trajectory_id!r} does not contain the segment {segment.id}")
    return math.fsum(step_reward(step, objective) for step in steps)
