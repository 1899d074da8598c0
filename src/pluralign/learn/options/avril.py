"""AVRIL: a posterior over rewards and a policy from demonstrations alone, without rewards."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from pluralign.core import Decision, InputError, Trajectory
from pluralign.core.checks import checked, require_seed
from pluralign.learn.engine import train_phase
from pluralign.learn.options.policies import make_card
from pluralign.learn.options.settings import AVRILConfig
from pluralign.learn.options.tables import DecisionIndex, encode_trajectories, table_digest
from pluralign.learn.phase import Phase
from pluralign.learn.run_folder import claim_folder
from pluralign.lm.tensors import distinct_values, seeded, trains
from pluralign.losses.bayesian_irl import avril_loss
from pluralign.options.checkpoint import describe_source
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import option_log_probs, pad_features
from pluralign.options.option_reward import OptionRewardHead, OptionRewardPosterior, save_option_reward


@dataclass(frozen=True, eq=False)
class Transitions:
    """Demonstrated steps, each with the following step.

    Args:
        states: Number of each step's decision.
        actions: Index of the option taken.
        next_states: Number of the following step's decision; the step itself if there is none (ignored).
        next_actions: Index of the option taken in the following step.
        continues: Whether there is a following step.
        known: Whether the TD error is known: there is a following step, or the story ended here.
    """

    states: Int[Tensor, " steps"]
    actions: Int[Tensor, " steps"]
    next_states: Int[Tensor, " steps"]
    next_actions: Int[Tensor, " steps"]
    continues: Bool[Tensor, " steps"]
    known: Bool[Tensor, " steps"]

    def __len__(self) -> int:
        return len(self.states)


def encode_transitions(trajectories: Sequence[Trajectory], index: DecisionIndex) -> Transitions:
    """All steps of all trajectories, each with the following step.

    After the last step of an episode that terminated, Q(s', a') is 0, which anchors the Q-values. If an
    episode was truncated, the next value is unknown and the term is dropped.

    Raises:
        InputError: There are no steps.
    """
    table = encode_trajectories(trajectories, index)
    lengths = torch.tensor([len(trajectory.steps) for trajectory in trajectories])
    last = lengths.cumsum(0) - 1
    continues = torch.ones(len(table), dtype=torch.bool)
    continues[last] = False
    known = continues.clone()
    known[last] = torch.tensor([trajectory.terminated for trajectory in trajectories])
    following = torch.arange(len(table)) + continues.long()
    return Transitions(
        table.states, table.actions, table.states[following], table.actions[following], continues, known
    )


class VariationalRewards(nn.Module):
    """AVRIL's bound on the steps of a table, negated.

    Args:
        head: Head to train; its standardisation is fitted here.
        decisions: Distinct decisions of the data.
        source: Features of the decisions.
        table: Demonstrated steps.
        config: Weights of the bound.
    """

    def __init__(
        self,
        head: OptionRewardHead,
        decisions: Sequence[Decision],
        source: FeatureSource,
        table: Transitions,
        config: AVRILConfig,
    ) -> None:
        super().__init__()
        features, mask = pad_features(source.get(decisions))
        # Not named "config": a trainer would take it for a language model's configuration.
        self.head, self.settings = head, config
        self.features: Tensor
        self.mask: Tensor
        self.states: Tensor
        self.actions: Tensor
        self.next_states: Tensor
        self.next_actions: Tensor
        self.continues: Tensor
        self.known: Tensor
        head.fit_standardisation(features[mask])
        # Not persistent: training checkpoints contain trained weights, not the data.
        data = {"features": head.standardise(features), "mask": mask}
        data |= {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
        for name, value in data.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Loss on these rows of the table, nats per step."""
        config = self.settings
        states, actions = self.states[rows], self.actions[rows]
        distinct, places = distinct_values(torch.cat([states, self.next_states[rows]]))
        here, after = places.chunk(2)
        q_values = self.head.q_values(self.features[distinct])
        log_policy = option_log_probs(config.beta * q_values, self.mask[distinct])[here, actions]
        following = torch.where(self.continues[rows], q_values[after, self.next_actions[rows]], 0.0)
        delta = q_values[here, actions] - config.gamma * following
        mean, sigma = self.head.rewards(self.features[states, actions])
        loss = avril_loss(
            log_policy,
            delta,
            mean,
            sigma,
            self.known[rows],
            td_weight=config.td_weight,
            kl_weight=config.kl_weight,
        )
        return {"loss": loss}


@checked
@trains
def fit_avril(
    trajectories: Sequence[Trajectory],
    *,
    store: FeatureSource,
    out: str | Path,
    config: AVRILConfig | None = None,
    seed: int = 0,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> OptionRewardPosterior:
    """Train Q-values and a posterior over rewards on demonstrated steps (`losses.bayesian_irl.avril_loss`).

    If interrupted and called again with the same arguments, training continues where it stopped and ends with
    the same weights.

    Args:
        trajectories: Trajectories; all steps are used, rewards are not read.
        store: Features of the decisions.
        out: Folder to write.
        config: See `AVRILConfig`.
        seed: Random seed of weights and data order.
        name: Name of the posterior in reports; ``avril`` by default.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: No trajectories, or ``out`` holds another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score", "harm_avoidance"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=goals))
        >>> store = pl.Models("tiny-random").store
        >>> config = pl.learn.AVRILConfig(steps=5)
        >>> rewards = pl.learn.fit_avril(played, store=store, out="rewards", config=config)
        >>> rewards.name
        'avril'
    """
    require_seed(seed)
    started, config = time.monotonic(), config or AVRILConfig()
    if not trajectories:
        raise InputError("there is no trajectory to learn from", path=(provenance or {}).get("file"))
    index = DecisionIndex()
    table = encode_transitions(trajectories, index)
    digest = table_digest((table.states, table.actions, table.continues, table.known), index.decisions)
    settings = dataclasses.asdict(config)
    run = {"method": "avril", "config": settings, "data": digest, "seed": seed}
    claim_folder(Path(out), {**run, "backbone": describe_source(store)})
    with seeded(seed):
        head = OptionRewardHead(store.dimension, config.hidden)
    phase = Phase(
        "AVRIL", Path(out) / "checkpoints" / "avril", len(table), config.steps,
        config.batch_size, config.learning_rate, config.weight_decay, seed,
    )  # fmt: skip
    curve = train_phase(VariationalRewards(head, index.decisions, store, table, config), phase)
    counts = {"trajectories": len(trajectories), "steps": len(table), "decisions": len(index.decisions)}
    data = {**(provenance or {}), "digest": digest, **counts, "without_end": int((~table.known).sum())}
    posterior = OptionRewardPosterior(name or "avril", head.cpu(), store, beta=config.beta)
    card = make_card(
        "avril", seed=seed, config=settings, data=data, store=store, figures={"curve": curve}, started=started
    )
    save_option_reward(posterior, Path(out), card)
    return posterior
