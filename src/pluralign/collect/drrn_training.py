"""Training of DRRN: parallel games, a replay buffer, temporal differences."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pluralign.collect.intrinsic import Intrinsic, IntrinsicRewards
from pluralign.core import InputError
from pluralign.core.arrays import IntArray
from pluralign.core.checks import checked
from pluralign.core.progress import ProgressBar
from pluralign.folders.card import Card, current_versions
from pluralign.games.game import Game
from pluralign.lm.tensors import seeded, trains
from pluralign.options.drrn import DRRNConfig, DRRNPolicy
from pluralign.options.features import FeatureSource
from pluralign.options.q_network import DecisionTable, QNetwork

FOLLOW = 0.02
"""Step size of the target network's moving average at each update."""

ENDED = -1


@checked
@trains
def train_drrn(
    make_game: Callable[[], Game],
    features: FeatureSource,
    *,
    config: DRRNConfig | None = None,
    seed: int,
    reward: Callable[[Mapping[str, float]], float] | None = None,
    name: str = "drrn",
    intrinsic: Intrinsic | None = None,
    progress: bool = False,
) -> DRRNPolicy:
    """Train DRRN online in a game: minimise Huber(Q(s, a) - (r + gamma max_a' Q_target(s', a'))).

    An intrinsic reward is added to r in training alone: returns in the card's curve, and everything that is
    measured of the policy afterwards, are the game's.

    There are no intermediate checkpoints: with cached features a run takes seconds, and the same seed gives
    the same run.

    Args:
        make_game: Function that makes a game; called once per environment.
        features: Features of (prompt, option); each distinct decision is requested once.
        config: Training settings; None uses the defaults.
        seed: Random seed of exploration, replay and initial weights; not negative.
        reward: Reward of a step from its counts (`Objective.reward`); None uses the game's score.
        name: Name of the policy in reports.
        intrinsic: Intrinsic reward that is added to the reward; None for none.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The policy; ``card.figures["curve"]`` contains ``[steps, mean return of the episodes that ended since
        the last entry]``; with an intrinsic reward, ``card.figures["intrinsic"]`` has its own ``curve`` (in
        units of ``reward_scale``) and how many decisions were ``judged``, and ``unjudged`` by the source.

    Raises:
        InputError: The seed is negative, or the story has no decision.
    """
    if seed < 0:
        raise InputError(f"expected a seed that is not negative, found {seed}", field="seed")
    started = time.monotonic()
    with _one_thread():
        reward = reward or make_game().info.objective("score").reward
        run = _Run(make_game, features, config or DRRNConfig(), seed, reward, intrinsic)
        total = run.config.steps
        with ProgressBar(total, f"steps of {name}", unit="step", shown=progress) as bar:
            while (done := run.steps) < total:
                run.play_round()
                run.learn()
                bar.advance(min(run.steps, total) - done)
    run.mark()
    figures: dict[str, Any] = {
        "curve": run.curve,
        "episodes": run.episodes,
        "decisions": run.table.size,
        "reward_scale": run.scale,
        "seconds": round(time.monotonic() - started, 2),
    }
    settings = asdict(run.config)
    if intrinsic is not None and run.intrinsic is not None:
        settings["intrinsic"] = {
            name: getattr(intrinsic, name) for name in ("name", "weight", "beta", "every")
        }
        figures["intrinsic"] = {
            "curve": run.intrinsic_curve, "judged": run.intrinsic.judged, "unjudged": run.intrinsic.unjudged
        }  # fmt: skip
    return DRRNPolicy(
        run.network,
        features,
        temperature=run.config.temperature,
        name=name,
        card=Card("drrn", seed=seed, config=settings, figures=figures, versions=current_versions()),
    )


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """Use a single thread. Layers this small gain nothing from threads, and on a busy machine waiting for
    them made training 40 times slower (measured: 252 s instead of 6 s)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        make_game: Callable[[], Game],
        features: FeatureSource,
        config: DRRNConfig,
        seed: int,
        reward: Callable[[Mapping[str, float]], float],
        intrinsic: Intrinsic | None,
    ) -> None:
        self.intrinsic = None if intrinsic is None else IntrinsicRewards(intrinsic)
        self.config, self.reward = config, reward
        self.random = np.random.default_rng(seed)
        self.table = DecisionTable(features)
        with seeded(seed):
            self.network = QNetwork(features.dimension, config.hidden)
        self.target = copy.deepcopy(self.network)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate
        )
        self.memory = _Memory(config.memory)
        self.games = [make_game() for _ in range(config.environments)]
        self.lengths = np.zeros(config.environments, dtype=np.int64)
        self.returns, self.intrinsic_returns = np.zeros((2, config.environments))
        self.finished: list[float] = []
        self.intrinsic_finished: list[float] = []
        self.curve: list[list[float]] = []
        self.intrinsic_curve: list[list[float]] = []
        self.steps = self.episodes = 0
        self.scale = 0.0
        for game in self.games:
            self._reset(game)

    def _reset(self, game: Game) -> None:
        game.reset(int(self.random.integers(2**31)))
        if game.decision is None:
            raise InputError(f"story '{game.info.name}' ends before its first decision")

    def play_round(self) -> None:
        """Take one step in every environment, with softmax exploration."""
        decisions = [game.decision for game in self.games if game.decision is not None]
        now = np.array(self.table.numbers(decisions))
        actions = self._explore(now)
        visits = np.ones(len(now), dtype=np.int64)
        if self.intrinsic is not None:
            self.intrinsic.meet(now.tolist(), decisions)
            visits = self.intrinsic.visit(now, actions)
            self.intrinsic_returns += self.intrinsic.of(now, actions, visits)
        rewards = np.zeros(len(self.games))
        ended = np.zeros(len(self.games), dtype=bool)
        for i, game in enumerate(self.games):
            rewards[i] = self.reward(game.choose(int(actions[i])))
            ended[i] = game.decision is None
        after = np.full(len(self.games), ENDED, dtype=np.int64)
        running = np.flatnonzero(~ended)
        after[running] = self.table.numbers([g.decision for g in self.games if g.decision is not None])
        self.memory.add(now, actions, rewards, after, visits)
        self.steps += len(self.games)
        self.lengths += 1
        self.returns += rewards
        for i in np.flatnonzero(ended | (self.lengths >= self.config.max_steps)):
            self.finished.append(float(self.returns[i]))
            self.intrinsic_finished.append(float(self.intrinsic_returns[i]))
            self.episodes += 1
            self.lengths[i], self.returns[i], self.intrinsic_returns[i] = 0, 0.0, 0.0
            self._reset(self.games[i])

    def _temperature(self) -> float:
        config = self.config
        done = min(1.0, self.steps / (0.75 * config.steps))
        return config.first_temperature ** (1 - done) * config.temperature**done

    def _explore(self, numbers: IntArray) -> IntArray:
        rows, where, held = self.table.options_of(numbers)
        with torch.no_grad():
            logits = self.network(rows)[where] / self._temperature()
            probs = logits.masked_fill(~held, -torch.inf).softmax(-1).double().numpy()
        cumulative = probs.cumsum(1)
        place = self.random.random(len(numbers)) * cumulative[:, -1]
        return (cumulative <= place[:, None]).sum(1).clip(max=held.sum(1).numpy() - 1)

    def learn(self) -> None:
        """Run the updates of one round; the first round sets the scales."""
        if self.steps < self.config.warm_up:
            return
        if not self.scale:
            self._set_scales()
        for _ in range(self.config.updates):
            self._update()
        if self.steps >= (len(self.curve) + 1) * self.config.steps / 20:
            self.mark()

    def mark(self) -> None:
        """Record the mean return of the episodes since the last record."""
        if self.finished:
            self.curve.append([self.steps, float(np.mean(self.finished))])
            self.intrinsic_curve.append([self.steps, float(np.mean(self.intrinsic_finished))])
            self.finished.clear()
            self.intrinsic_finished.clear()

    def _set_scales(self) -> None:
        features = self.table.all_features()
        self.network.standardise(features)
        self.target.standardise(features)
        mean = float(np.mean(np.abs(self.finished))) if self.finished else 0.0
        self.scale = mean if mean > 0 else 1.0

    @torch.enable_grad()
    def _update(self) -> None:
        now, actions, rewards, after, visits = self.memory.sample(self.random, self.config.batch_size)
        scaled = rewards / self.scale
        if self.intrinsic is not None:
            scaled = scaled + self.intrinsic.of(now, actions, visits)
        targets = torch.as_tensor(scaled).float()
        going = np.flatnonzero(after != ENDED)
        if len(going):
            rows, where, held = self.table.options_of(after[going])
            with torch.no_grad():
                best = self.target(rows)[where].masked_fill(~held, -torch.inf).amax(-1)
            targets[torch.as_tensor(going)] += self.config.gamma * best
        q = self.network(self.table.features_of(now, actions))
        loss = torch.nn.functional.smooth_l1_loss(q, targets)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast, FOLLOW)


class _Memory:
    """Replay buffer of the most recent steps."""

    def __init__(self, capacity: int) -> None:
        self._now = np.zeros(capacity, dtype=np.int64)
        self._actions = np.zeros(capacity, dtype=np.int64)
        self._rewards = np.zeros(capacity)
        self._after = np.zeros(capacity, dtype=np.int64)
        self._visits = np.zeros(capacity, dtype=np.int64)
        self._next = self._held = 0

    def add(
        self,
        now: IntArray,
        actions: IntArray,
        rewards: npt.NDArray[np.float64],
        after: IntArray,
        visits: IntArray,
    ) -> None:
        """Add steps, overwriting the oldest."""
        capacity = len(self._now)
        places = (self._next + np.arange(len(now))) % capacity
        self._now[places], self._actions[places] = now, actions
        self._rewards[places], self._after[places], self._visits[places] = rewards, after, visits
        self._next = (self._next + len(now)) % capacity
        self._held = min(self._held + len(now), capacity)

    def sample(
        self, random: np.random.Generator, count: int
    ) -> tuple[IntArray, IntArray, npt.NDArray[np.float64], IntArray, IntArray]:
        """Sample steps uniformly, with replacement."""
        at = random.integers(self._held, size=count)
        return self._now[at], self._actions[at], self._rewards[at], self._after[at], self._visits[at]
