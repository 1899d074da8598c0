"""Rounds of a policy gradient on a story, with figures after every few; a killed run continues."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.core.progress import ProgressBar
from pluralign.folders.tensors import read_metadata, read_tensors, write_tensors
from pluralign.learn.combination import Combination, Tail, measured_scales
from pluralign.learn.constraints import Constrained
from pluralign.learn.options.continuations import Played, Player, Start
from pluralign.learn.options.tables import DecisionIndex
from pluralign.learn.weighting import Observed, Weighting
from pluralign.lm.tensors import seeded, to_list
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionHead, OptionPolicy, option_log_probs, pad_features
from pluralign.rewards.value_model import RewardScale

STATE = "story-rl.safetensors"
"""File of what a continued run needs."""
_MEASURED = 4


@dataclass(frozen=True)
class StoryRLConfig:
    """Settings of `fit_story_rl` (all ours).

    Args:
        rounds: Number of rounds; each has one step of the optimizer.
        block: Number of rounds between measurements; an interrupted run continues after the last one.
        episodes: Number of episodes played in a round, from which its decisions are drawn; four times as many
            are played for a measurement.
        decisions: Number of decisions in a round.
        samples: Number of continuations of a decision, G.
        learning_rate: Learning rate of AdamW, decaying linearly to 0.
        weight_decay: Weight decay of AdamW.
        hidden: Width of the head's hidden layer, if there is no policy to start from; 0 for a linear head.
        kl: Weight of the divergence of an episode from the policy before training: of -log(pi / pi_0), in
            units of a standardised return for a nat.
        tail: Utility that weighs the worst episodes of a round more; None for the mean.
        max_steps: Number of steps after which an episode is truncated.
    """

    rounds: int = 200
    block: int = 10
    episodes: int = 16
    decisions: int = 32
    samples: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    hidden: int = 64
    kl: float = 0.1
    tail: Tail | None = None
    max_steps: int = 200

    def __post_init__(self) -> None:
        lowest = {"rounds": 1, "block": 1, "episodes": 2, "decisions": 1, "samples": 2, "learning_rate": 0}
        require(self, {**lowest, "weight_decay": 0, "hidden": 0, "kl": 0, "max_steps": 1})


class StoryRounds:
    """The rounds of `fit_story_rl`.

    Args:
        player: Player of the story.
        store: Features of the decisions.
        weighting: Weights; the given object stays as it is.
        combination: How returns become advantages.
        config: See `StoryRLConfig`.
        initial: Policy to start from; None for a new head.
        seed: Random seed of weights and play.
        path: File of what a continued run needs.
    """

    def __init__(
        self, player: Player, store: FeatureSource, weighting: Weighting, combination: Combination,
        config: StoryRLConfig, initial: OptionPolicy | None, seed: int, path: Path,
    ) -> None:  # fmt: skip
        self._player, self._store, self._combination = player, store, combination
        self._config, self._seed, self._path = config, seed, path
        self._weighting = copy.copy(weighting)
        self._weighting.restore(weighting.state())
        self._fresh = initial is None
        with seeded(seed):
            head = OptionHead(store.dimension, config.hidden) if initial is None else initial.head
        self.head = copy.deepcopy(head).cpu()
        self._optimizer: Any = torch.optim.AdamW(
            self.head.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.rows: list[dict[str, Any]] = []
        self._scales: list[RewardScale] = []

    @property
    def headlines(self) -> dict[str, Any]:
        """Figures after the last round."""
        last = self.rows[-1]
        found: dict[str, Any] = {f"return_{name}": mean for name, mean in last["rewards"].items()}
        found["kl"] = last["kl"]
        if isinstance(self._weighting, Constrained):
            found |= {"multipliers": self._weighting.multipliers, "missed": self._weighting.missed}
        return found

    @torch.enable_grad()
    def train(self) -> None:
        """All rounds that are left, from the last measurement."""
        if self._path.exists():
            self._restore()
        else:
            self._begin()
        config = self._config
        with ProgressBar(config.rounds, "policy gradient", unit="round") as bar:
            done = int(self.rows[-1]["round"])
            bar.advance(done)
            used: list[Float[Tensor, " objectives"]] = []
            for number in range(done + 1, config.rounds + 1):
                used.append(self._round(number))
                bar.advance(1)
                if number % config.block == 0 or number == config.rounds:
                    self._measure(number, used)
                    used = []

    def _policy(self) -> OptionPolicy:
        return OptionPolicy("policy", self.head, self._store)

    def _begin(self) -> None:
        """Standardisation of features, scales of returns, and figures of the policy before training."""
        played = self._episodes(0, _MEASURED * self._config.episodes)
        if self._fresh:
            known = {one.key: one for own in played for one in own.decisions}
            features, mask = pad_features(self._store.get(list(known.values())))
            self.head.fit_standardisation(features[mask])
        self._scales = list(measured_scales(_returns(played), self._weighting.objectives))
        self._note(0, played, [])

    def _episodes(self, number: int, count: int, purpose: int = 0) -> list[Played]:
        streams = [np.random.default_rng([self._seed, number, purpose, i]) for i in range(count)]
        return self._player.play(self._policy(), [Start(stream) for stream in streams])

    def _round(self, number: int) -> Float[Tensor, " objectives"]:
        """One gradient step; returns the mean weights that it used."""
        config = self._config
        played = self._episodes(number, config.episodes, 1)
        met = [(own, i) for own in played for i in range(len(own.decisions))]
        if not met:
            raise InputError("no decision of the story has several options")
        draw = np.random.default_rng([self._seed, number, 2])
        picks: list[int] = draw.integers(len(met), size=config.decisions).tolist()
        chosen = [met[i] for i in picks]
        starts = [
            Start(
                np.random.default_rng([self._seed, number, 3, place, i]),
                own.states[at], own.pasts[at], own.places[at],
            )
            for place, (own, at) in enumerate(chosen)
            for i in range(config.samples)
        ]  # fmt: skip
        continued = self._player.play(self._policy(), starts)
        decisions = [own.decisions[at] for own, at in chosen]
        rewards = _returns(continued).view(config.decisions, config.samples, -1)
        ratios = torch.tensor([one.log_ratio for one in continued], dtype=torch.float64)
        weights = self._weighting.weights([decision.prompt for decision in decisions])
        standardised = Observed(rewards, self._scales).standardised
        advantages = self._combination.advantages(standardised, weights, -ratios.view(rewards.shape[:2]))
        self._weighting.observe(Observed(_returns(played), self._scales))
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * (1 - (number - 1) / config.rounds)
        loss: Any = self._loss(continued, advantages.float().flatten())
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return weights.mean(dim=0)

    def _loss(self, played: Sequence[Played], advantages: Float[Tensor, " samples"]) -> Float[Tensor, ""]:
        """Minus the sum of log pi of a sample's actions, times its advantage; the mean over samples."""
        index = DecisionIndex()
        rows = torch.tensor([
            (index.number(decision), action, sample)
            for sample, one in enumerate(played)
            for decision, action in zip(one.decisions, one.actions, strict=True)
        ])  # fmt: skip
        features, mask = pad_features(self._store.get(index.decisions))
        log_probs = option_log_probs(self.head(features), mask)
        return -(log_probs[rows[:, 0], rows[:, 1]] * advantages[rows[:, 2]]).sum() / len(played)

    def _measure(self, number: int, used: Sequence[Tensor]) -> None:
        played = self._episodes(number, _MEASURED * self._config.episodes)
        self._note(number, played, used)

    def _note(self, number: int, played: Sequence[Played], used: Sequence[Tensor]) -> None:
        """Add a row of figures, and write what a continued run needs."""
        config, names = self._config, self._weighting.objectives
        table = _returns(played)
        self._weighting.observe(Observed(table, self._scales, held_out=True))
        means: list[float] = to_list(table.mean(dim=(0, 1)))
        row: dict[str, Any] = {
            "round": number, "rewards": {n: round(v, 6) for n, v in zip(names, means, strict=True)},
            "kl": round(float(np.mean([one.log_ratio for one in played])), 4),
        }  # fmt: skip
        if used:
            mean: list[float] = to_list(torch.stack(list(used)).mean(dim=0))
            row["weights"] = {n: round(v, 4) for n, v in zip(names, mean, strict=True)}
        if isinstance(self._weighting, Constrained):
            row |= {"multipliers": self._weighting.multipliers, "missed": self._weighting.missed}
        scales = [dataclasses.asdict(scale) for scale in self._scales]
        if not number:
            row["scales"] = dict(zip(names, scales, strict=True))
        before = self.rows[-1] if self.rows else {"round": 0, "samples": 0}
        played_on = (number - before["round"]) * (config.episodes + config.decisions * config.samples)
        self.rows.append({**row, "samples": before["samples"] + len(played) + played_on})
        content = {"rows": self.rows, "weighting": self._weighting.state(), "scales": scales}
        tensors = {f"head.{key}": value for key, value in self.head.state_dict().items()}
        for i, own in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{key}": value for key, value in own.items()}
        write_tensors(self._path, tensors, {"state": json.dumps(content)})

    def _restore(self) -> None:
        tensors, content = read_tensors(self._path), json.loads(read_metadata(self._path)["state"])
        self.rows = content["rows"]
        self._weighting.restore(content["weighting"])
        self._scales = [RewardScale(**scale) for scale in content["scales"]]
        heads = {key.removeprefix("head."): v for key, v in tensors.items() if key.startswith("head.")}
        self.head.load_state_dict(heads)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer":
                number, _, own = rest.partition(".")
                state.setdefault(int(number), {})[own] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})


def _returns(played: Sequence[Played]) -> Float[Tensor, "1 episodes objectives"]:
    """Returns of whole episodes, as one group."""
    return torch.tensor(np.stack([one.total for one in played]))[None]
