"""Value models: a completion's expected final reward after each token, trained on samples and rewards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.arrays import varies
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.reward_settings import HLGauss, ValueConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.scored import as_demonstrations, require_scored
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss, map_rows
from pluralign.lm.tensors import to_list, trains
from pluralign.lm.text_blocks import sentence_ends
from pluralign.losses.value import Bins, gae_targets, hl_gauss_loss, value_loss
from pluralign.rewards.value_head import ValueHead
from pluralign.rewards.value_model import RewardScale, ValueModel

TokenLoss = Callable[..., Tensor]
"""Function of the head's outputs, the tokens' targets, and ``tokens`` as normaliser."""


class ValueLoss(BatchLoss):
    """A value head whose targets are the lambda-returns of its own current values.

    Args:
        head: Value head.
        loss: `value_loss`, or `hl_gauss_loss` with its bins.
        rewards: Reward of every row's completion, in units of their scale, shape (rows,).
        config: Lambda and discount.
        data: Rows, for the mean number of steps (see `AVALoss`).
        steps: Whether each token of every row's completion is a step; None if all tokens are.
    """

    def __init__(
        self, head: ValueHead, loss: TokenLoss, rewards: Float[Tensor, " rows"], config: ValueConfig,
        data: CompletionData, steps: Sequence[Bool[Tensor, " _"]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.head, self._loss, self._steps = head, loss, steps
        self._lam, self._gamma = config.lam, config.gamma
        total = data.completion_tokens if steps is None else sum(int(own.sum()) for own in steps)
        self._mean_steps = total / len(data)
        self.rewards: Tensor
        self.register_buffer("rewards", rewards, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        forest = batch.forest
        outputs, lengths = self.head(hidden[forest.places]), forest.lengths
        if self._steps is not None:
            steps = [self._steps[row] for row in batch.rows_of_branches()]
            outputs = outputs[torch.cat(steps).to(outputs.device)]
            lengths = torch.stack([own.sum() for own in steps]).to(lengths.device)
        rewards = outputs.new_zeros(len(forest.ends))
        rewards[batch.branches[:, 0]] = self.rewards[batch.rows.to(self.rewards.device)]
        values = self.head.values(outputs.detach())
        targets = gae_targets(values, rewards, lengths, lam=self._lam, gamma=self._gamma)
        outputs = outputs if self.head.bins is not None else outputs.squeeze(-1)
        return self._loss(outputs, targets, tokens=self._mean_steps * len(batch.rows) / batch.share)


@checked
@trains
@folder_optional
def fit_value(rows: Sequence[ScoredCompletion], run: Run, config: ValueConfig | None = None) -> ValueModel:
    """Train a value model for every prefix of a completion, on whole completions and their rewards.

    The value after a token is the expected final reward if the sampling policy continues from this prefix.
    The rows should therefore be samples of the policy that will be guided. A completion that was truncated at
    a token limit is treated as if it ended there, like its reward.

    Args:
        rows: Completions of one objective; ``train`` is used for training, ``validation`` for measurement.
        run: Model, folder, training options, seed.
        config: See `ValueConfig`.

    Raises:
        InputError: There is no training row, rewards are all equal or of several objectives, or the folder
            holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [
        ...     {"prompt": f"Say {i}:", "completion": text, "reward": reward}
        ...     for i in range(8)
        ...     for text, reward in ((" yes", 1.0), (" no", 0.0))
        ... ]
        >>> scored = pl.load_scored(rows, objective="agreement")
        >>> value = pl.learn.fit_value(scored, pl.learn.Run("tiny-random"))
        >>> value.card.objective
        'agreement'
    """
    config = config or ValueConfig()
    require_scored(rows)
    train, validation = ([row for row in rows if row.split == part] for part in ("train", "validation"))
    scale = _scale(train)
    rewards, held_out = _scaled(train, scale), _scaled(validation, scale)
    described = {**dataclasses.asdict(scale), "digest": digest([rewards.numpy().tobytes()])}
    settings = {**config.settings(), "rewards": described}
    texts, run = as_demonstrations(rows, run)
    session = Session("value", run, settings, texts, demonstrations=True)
    bins = None if config.classes is None else _bins(config.classes, float(rewards.abs().max()))
    head = ValueHead(session.backbone.hidden_size, bins).to(session.backbone.device)
    loss: TokenLoss = value_loss if bins is None else partial(hl_gauss_loss, bins=bins)
    steps = None if config.at == "tokens" else _sentence_steps(session.data, session.backbone.tokenizer)
    objective = ValueLoss(head, loss, rewards, config, session.data, steps).to(session.backbone.device)
    figures: dict[str, Any] = {"curve": session.train(objective)}
    return session.finish_value_model(head, scale, {**figures, **_validation(session, head, held_out)})


def _scale(rows: Sequence[ScoredCompletion]) -> RewardScale:
    rewards = np.array([row.reward for row in rows])
    with np.errstate(over="ignore"):
        deviation = float(rewards.std())
    if not math.isfinite(deviation):
        raise InputError(f"too large: the greatest is {np.abs(rewards).max():g}", field="reward")
    if not varies(rewards):
        raise InputError(f"all {len(rows)} training rewards are {rewards[0]:g}: there is nothing to learn")
    return RewardScale(float(rewards.mean()), deviation)


def _scaled(rows: Sequence[ScoredCompletion], scale: RewardScale) -> Float[Tensor, " rows"]:
    values = [(row.reward - scale.mean) / scale.deviation for row in rows]
    return torch.tensor(values, dtype=torch.float32)


def _sentence_steps(data: CompletionData, tokenizer: PreTrainedTokenizerBase) -> list[Bool[Tensor, " _"]]:
    """Whether each token of each row's completion ends a sentence, or the completion."""
    places: list[list[tuple[int, int]]] = to_list(data.places)
    return [
        torch.tensor(sentence_ends(tokenizer, data.trees[tree].branches[branch]))
        for ((tree, branch),) in places
    ]


def _bins(classes: HLGauss, farthest: float) -> Bins:
    end = farthest / (1 - 4 / classes.bins)
    return Bins(-end, end, classes.bins, classes.smoothing)


def _validation(session: Session, head: ValueHead, rewards: Float[Tensor, " rows"]) -> dict[str, float]:
    """Share of the final rewards' variance explained by the values after the first and the last token."""
    if session.validation is None or not float(rewards.var(correction=0)) > 0:
        return {}
    values = _ends(session, head, session.validation)
    return {
        f"validation_explained_variance_{name}": round(
            1.0 - float((rewards - values[:, i]).var(correction=0) / rewards.var(correction=0)), 4
        )
        for i, name in enumerate(("first_token", "last_token"))
    }


def _ends(session: Session, head: ValueHead, data: CompletionData) -> Float[Tensor, "rows 2"]:
    """Values after the first and after the last token of every completion."""

    def ends(hidden: Tensor, batch: Batch) -> Tensor:
        values, forest = head.values(head(hidden[batch.forest.places])), batch.forest
        lasts = forest.lengths.cumsum(0) - 1
        found = torch.stack([values[lasts - forest.lengths + 1], values[lasts]], dim=1)
        return found[batch.branches[:, 0]]

    training = session.run.training
    return map_rows(session.trunk, data, ends, token_budget=training.token_budget, bf16=is_mixed(training))
