"""Training of reward models on preference pairs: with any loss of two rewards, or as a discriminator."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError, PreferencePair
from pluralign.core.checks import checked
from pluralign.learn.texts.data import Batch
from pluralign.learn.texts.own_losses import check_loss, describe_loss, over_labels
from pluralign.learn.texts.reward_settings import BradleyTerryConfig, PreferenceTransformerConfig
from pluralign.learn.texts.run import Run, folder_optional, make_run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import Backbone
from pluralign.lm.device import use_device
from pluralign.lm.pretrained import SMOLLM2
from pluralign.lm.tensors import seeded, trains
from pluralign.losses.adversarial import discriminator_loss
from pluralign.losses.reward import bradley_terry, learned_variance
from pluralign.rewards.heads import GaussianRewards, HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel

PairLoss = Callable[[GaussianRewards, GaussianRewards, Batch], Tensor]
"""Function from the rewards of a batch's chosen and rejected completions to its part of the step's loss."""

RewardLoss = Callable[..., Tensor]
"""Function from ``(chosen, rejected, margin)``, or ``(chosen, rejected, chosen_sigma, rejected_sigma,
margin)``, to the loss of each pair; all of shape (pairs,)."""

REWARD_ARGUMENTS = ("chosen", "rejected", "margin")
"""Positional arguments of a reward model's loss, in order."""

GAUSSIAN_ARGUMENTS = ("chosen", "rejected", "chosen_sigma", "rejected_sigma", "margin")
"""Positional arguments of a loss that has the parameter ``chosen_sigma``, in order."""


class PairRewardLoss(BatchLoss):
    """A reward head with a loss of the rewards of pairs.

    Args:
        head: Reward head.
        loss: Loss of the two rewards of each row, multiplied by the batch's share of the step.
    """

    def __init__(self, head: RewardHead, loss: PairLoss) -> None:
        super().__init__()
        self.head, self._loss = head, loss

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        rewards = self.head.of_branches(self.head(hidden, batch.forest), batch.forest)
        chosen, rejected = (
            GaussianRewards(rewards.mean[batch.branches[:, i]], rewards.sigma[batch.branches[:, i]])
            for i in (0, 1)
        )
        return self._loss(chosen, rejected, batch)


@checked
@trains
def fit_reward(
    pairs: Sequence[PreferencePair],
    *,
    model: str | Path | Backbone = SMOLLM2,
    out: str | Path | None = None,
    loss: RewardLoss = bradley_terry,
    head: HeadShape | None = None,
    training: Training | None = None,
    seed: int = 0,
    name: str = "",
    template: str | None = None,
    control_tokens: bool = False,
    device: str | None = None,
) -> RewardModel:
    """Train a reward model on preference pairs with any loss of rewards.

    The split ``train`` is used for training and ``validation`` for measurement; ``test`` is not used. If an
    interrupted run with an output folder is called again, it continues and ends with the same weights.

    Args:
        pairs: One-step pairs of one objective (`load_pairs`).
        model: Model before training; see `fit_policy`.
        out: Output folder; None keeps the model in memory only.
        loss: Loss of each pair, ``(chosen, rejected, margin) -> loss``, of rewards and of the data's margins
            (zeros if it has none); all of shape (pairs,). A loss with the parameters ``chosen_sigma`` and
            ``rejected_sigma`` before ``margin`` gets a Gaussian head. `losses.bradley_terry`,
            `losses.learned_variance`, or a function of your own. For pairs whose label may be wrong (weight
            below 1), it is also called with chosen and rejected exchanged and the margin negated.
        head: Reward head; by default a reward at the last token.
        training: Optimizer, batch and adapter options; see `Training`.
        seed: Random seed of new weights and of the data order.
        name: Name of the model in reports; the objective's by default.
        template: Name of the template that rendered the data's messages to text, "dialogue" or "chat".
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.

    Raises:
        InputError: There is no training pair, the loss has another signature or result, or the folder holds
            another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> reward = pl.fit_reward(pairs, model="tiny-random", loss=pl.losses.bradley_terry)
        >>> reward.name
        'agreement'
    """
    gaussian = _takes_sigma(loss)
    method, settings = describe_loss(loss, GAUSSIAN_ARGUMENTS if gaussian else REWARD_ARGUMENTS)
    shape = head or HeadShape(gaussian=gaussian)
    if gaussian and not shape.gaussian:
        raise InputError("the loss uses standard deviations, which this head does not provide", field="head")
    check_loss(loss, GAUSSIAN_ARGUMENTS if gaussian else REWARD_ARGUMENTS)
    settings = {"margin": 0.0, **settings} | ({"head": dataclasses.asdict(shape)} if head else {})
    with use_device(device):
        run = make_run(
            model, out, training, seed=seed, name=name, template=template, control_tokens=control_tokens
        )
        return _fit(pairs, run, method, settings, shape, _of_batch(loss, gaussian=gaussian))


@checked
@trains
def fit_bradley_terry(
    pairs: Sequence[PreferencePair], run: Run, config: BradleyTerryConfig | None = None
) -> RewardModel:
    """Train a reward at the last token (`losses.bradley_terry`); see `fit_reward`.

    Args:
        pairs: One-step pairs of one objective.
        run: Model, folder, training options, seed.
        config: See `BradleyTerryConfig`.

    Raises:
        InputError: No training pair, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> reward = pl.learn.fit_bradley_terry(pairs, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    return _fit_last_token(pairs, run, "bradley-terry", config, bradley_terry)


@checked
@trains
def fit_bt_variance(
    pairs: Sequence[PreferencePair], run: Run, config: BradleyTerryConfig | None = None
) -> RewardModel:
    """Train a Gaussian reward at the last token (`losses.learned_variance`); see `fit_reward`.

    Args:
        pairs: One-step pairs of one objective.
        run: Model, folder, training options, seed.
        config: See `BradleyTerryConfig`.

    Raises:
        InputError: No training pair, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> reward = pl.learn.fit_bt_variance(pairs, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    return _fit_last_token(pairs, run, "bt-variance", config, learned_variance, gaussian=True)


def _fit_last_token(
    pairs: Sequence[PreferencePair], run: Run, method: str, config: BradleyTerryConfig | None,
    loss: RewardLoss, *, gaussian: bool = False,
) -> RewardModel:  # fmt: skip
    settings = dataclasses.asdict(config or BradleyTerryConfig())
    of_batch = _of_batch(loss, settings["margin"], gaussian=gaussian)
    return _fit(pairs, run, method, settings, HeadShape(gaussian=gaussian), of_batch)


@checked
@trains
def fit_preference_transformer(
    pairs: Sequence[PreferencePair], run: Run, config: PreferenceTransformerConfig | None = None
) -> RewardModel:
    """Train token rewards whose weighted sum explains preferences (Kim et al. 2023, eq. 5-7).

    Args:
        pairs: One-step pairs of one objective; their margins are not used.
        run: Model, folder, training options, seed.
        config: See `PreferenceTransformerConfig`.

    Raises:
        InputError: No training pair, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> reward = pl.learn.fit_preference_transformer(pairs, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    config = config or PreferenceTransformerConfig()
    shape = HeadShape(weighting="bidirectional", reduction="sum", attention_width=config.attention_width)

    def loss(chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected)

    return _fit(pairs, run, "preference-transformer", dataclasses.asdict(config), shape, _of_batch(loss))


@checked
@trains
def fit_discriminator(pairs: Sequence[PreferencePair], run: Run) -> RewardModel:
    """Train a discriminator between chosen and rejected completions
    (`losses.adversarial.discriminator_loss`).

    Completions are unpaired: unlike in Bradley-Terry, it does not matter which two form a pair.

    Args:
        pairs: Pairs of a positive (chosen) and a negative (rejected) completion; see `pair.recipes`.
        run: Model, folder, training options, seed.

    Raises:
        InputError: There is no training pair, a label may be wrong, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " written", "rejected": " drawn"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="written")
        >>> reward = pl.learn.fit_discriminator(pairs, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" written"]).shape
        (1,)
    """

    def loss(chosen: GaussianRewards, rejected: GaussianRewards, batch: Batch) -> Tensor:
        return discriminator_loss(chosen.mean, rejected.mean) * batch.share

    return _fit(pairs, run, "discriminator", {}, HeadShape(), loss, label_weights=False, identical=True)


def _takes_sigma(loss: RewardLoss) -> bool:
    try:
        return "chosen_sigma" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        # Without a signature; `describe_loss` refuses it.
        return False


def _of_batch(loss: RewardLoss, margin: float = 0.0, *, gaussian: bool = False) -> PairLoss:
    """Adapt a reward loss to batches; its expectation is over labels that may be wrong."""

    def columns(one: GaussianRewards, other: GaussianRewards) -> tuple[Tensor, ...]:
        return (one.mean, other.mean, *((one.sigma, other.sigma) if gaussian else ()))

    def of_batch(chosen: GaussianRewards, rejected: GaussianRewards, batch: Batch) -> Tensor:
        # A pair's own margin changes sign with its label; what is demanded of every pair does not.
        return over_labels(
            lambda: loss(*columns(chosen, rejected), margin + batch.margins),
            lambda: loss(*columns(rejected, chosen), margin - batch.margins),
            batch,
        )

    return of_batch


@folder_optional
def _fit(
    pairs: Sequence[PreferencePair], run: Run, method: str, settings: dict[str, Any], shape: HeadShape,
    loss: PairLoss, *, label_weights: bool = True, identical: bool = False,
) -> RewardModel:  # fmt: skip
    session = Session(method, run, settings, pairs, label_weights=label_weights, identical=identical)
    head = seeded_head(session.backbone.hidden_size, shape, run.seed).to(session.backbone.device)
    curve = session.train(PairRewardLoss(head, loss))
    return session.finish_reward_model(head, curve, policy=False)


def seeded_head(dimension: int, shape: HeadShape, seed: int) -> RewardHead:
    """A reward head whose weights are initialised from the seed."""
    with seeded(seed):
        return RewardHead(dimension, shape)
