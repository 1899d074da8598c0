"""Reward models from preference pairs: Bradley-Terry, with learned variance, Preference Transformer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import PreferencePair
from pluralign.core.checks import require
from pluralign.learn.texts.data import Batch
from pluralign.learn.texts.session import Run, Session
from pluralign.learn.texts.training import Objective
from pluralign.losses.reward import bradley_terry_loss, learned_variance_loss
from pluralign.rewards.heads import HeadShape, RewardHead, Rewards
from pluralign.rewards.reward_model import RewardModel

PairLoss = Callable[[Rewards, Rewards, Batch], Tensor]
"""Of the chosen's and the rejected's rewards of a batch: a mean over its rows."""


@dataclass(frozen=True)
class BradleyTerryConfig:
    """How `fit_bradley_terry` and `fit_bt_variance` learn.

    Args:
        margin: by which chosen must be better, beside each pair's own (Llama 2, eq. 2; with 0 and pairs
            without margins: plain Bradley-Terry).
    """

    margin: float = 0.0


@dataclass(frozen=True)
class PreferenceTransformerConfig:
    """How `fit_preference_transformer` learns.

    Args:
        attention_width: of the queries and keys that weigh tokens (ours).
    """

    attention_width: int = 64

    def __post_init__(self) -> None:
        require(self, {"attention_width": 1})


class PairObjective(Objective):
    """A reward head and a loss of pairs.

    Args:
        head: the reward head.
        loss: of the two rewards of each row.
    """

    def __init__(self, head: RewardHead, loss: PairLoss) -> None:
        super().__init__()
        self.head, self._loss = head, loss

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `Objective`."""
        rewards = self.head.of_branches(self.head(hidden, batch.forest), batch.forest)
        chosen, rejected = (
            Rewards(rewards.mean[batch.branches[:, i]], rewards.sigma[batch.branches[:, i]]) for i in (0, 1)
        )
        return self._loss(chosen, rejected, batch) * batch.share


def fit_bradley_terry(
    pairs: Sequence[PreferencePair], run: Run, config: BradleyTerryConfig | None = None
) -> RewardModel:
    """Learn a reward of the last token from preference pairs (`losses.reward.bradley_terry_loss`).

    Args:
        pairs: one-step pairs of one objective; see `Session` for what is done with which split.
        run: model, folder, training, seed.
        config: see `BradleyTerryConfig`.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    config = config or BradleyTerryConfig()

    def loss(chosen: Rewards, rejected: Rewards, batch: Batch) -> Tensor:
        margin = batch.margins + config.margin
        return bradley_terry_loss(chosen.mean, rejected.mean, margin=margin, weights=batch.weights)

    return _fit("bradley-terry", pairs, run, dataclasses.asdict(config), HeadShape(), loss)


def fit_bt_variance(
    pairs: Sequence[PreferencePair], run: Run, config: BradleyTerryConfig | None = None
) -> RewardModel:
    """Learn a Gaussian reward of the last token (`losses.reward.learned_variance_loss`).

    Args:
        pairs: see `fit_bradley_terry`.
        run: model, folder, training, seed.
        config: see `BradleyTerryConfig`.

    Raises:
        InputError: see `fit_bradley_terry`.
    """
    config = config or BradleyTerryConfig()

    def loss(chosen: Rewards, rejected: Rewards, batch: Batch) -> Tensor:
        return learned_variance_loss(
            chosen.mean, rejected.mean, chosen.sigma, rejected.sigma,
            margin=batch.margins + config.margin, weights=batch.weights,
        )  # fmt: skip

    return _fit("bt-variance", pairs, run, dataclasses.asdict(config), HeadShape(gaussian=True), loss)


def fit_preference_transformer(
    pairs: Sequence[PreferencePair], run: Run, config: PreferenceTransformerConfig | None = None
) -> RewardModel:
    """Learn rewards of tokens whose weighted sum explains preferences (Kim et al. 2023, eq. 5-7).

    Args:
        pairs: see `fit_bradley_terry`.
        run: model, folder, training, seed.
        config: see `PreferenceTransformerConfig`.

    Raises:
        InputError: see `fit_bradley_terry`.
    """
    config = config or PreferenceTransformerConfig()
    shape = HeadShape(weighting="bidirectional", reduction="sum", attention_width=config.attention_width)

    def loss(chosen: Rewards, rejected: Rewards, batch: Batch) -> Tensor:
        return bradley_terry_loss(chosen.mean, rejected.mean, weights=batch.weights)

    return _fit("preference-transformer", pairs, run, dataclasses.asdict(config), shape, loss)


def _fit(
    method: str, pairs: Sequence[PreferencePair], run: Run, settings: dict[str, Any], shape: HeadShape,
    loss: PairLoss,
) -> RewardModel:  # fmt: skip
    session = Session(method, run, settings, pairs)
    head = seeded_head(session.backbone.hidden_size, shape, run.seed).to(session.backbone.device)
    curve = session.train(PairObjective(head, loss))
    return session.finish_reward_model(head, curve, policy=False)


def seeded_head(dimension: int, shape: HeadShape, seed: int) -> RewardHead:
    """A reward head with the weights that the seed gives."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RewardHead(dimension, shape)
