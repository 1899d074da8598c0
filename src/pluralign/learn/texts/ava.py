"""Approximated Variational Alignment: AVA-p from preferences, AVA-d from demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.core.checks import checked
from pluralign.learn.run_folder import own_source
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.reward_settings import AVAConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.lm.tensors import seeded, trains
from pluralign.losses.bayesian_irl import (
    TokenTerms,
    ava_demonstration_loss,
    ava_preference_loss,
    expected_return_loss,
)
from pluralign.losses.likelihood import unlikelihood
from pluralign.rewards.heads import GaussianRewards
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.tqr import TQR

Negative = Callable[[Tensor], Tensor]
ExpectedReturn = Callable[[Tensor, Tensor], Tensor]


class AVALoss(BatchLoss):
    """TQR heads with the losses of AVA.

    Sums over tokens are divided by the mean number of completion tokens per step over all data, not by that
    of the current step. Losses therefore add up, however a step is split into forests and processes.

    Args:
        tqr: TQR heads.
        config: Weights and switches.
        data: Rows, for the mean number of tokens.
        negative: Penalty of each rejected token from its log-probability.
        expected_return: Loss of the chosen and rejected rewards.
    """

    def __init__(
        self, tqr: TQR, config: AVAConfig, data: CompletionData, negative: Negative,
        expected_return: ExpectedReturn,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tqr, self._config = tqr, config
        self._tokens = data.completion_tokens / len(data)
        self._negative, self._expected_return = negative, expected_return

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        config, forest = self._config, batch.forest
        terms: TokenTerms = self.tqr(model, hidden, forest)
        tokens = self._tokens * len(batch.rows) / batch.share
        if batch.branches.shape[1] == 1:
            return ava_demonstration_loss(terms, tokens=tokens, **config.weights)
        chosen = torch.zeros(len(forest.ends), dtype=torch.bool, device=hidden.device)
        chosen[batch.branches[:, 0]] = True
        negative = self._negative if config.neg else None
        loss = ava_preference_loss(terms, chosen, negative, tokens=tokens, **config.weights)
        if config.cer:
            rewards = self.tqr.reward.of_branches(GaussianRewards(terms.mean, terms.sigma), forest).mean
            pair = rewards[batch.branches[:, 0]], rewards[batch.branches[:, 1]]
            loss = loss + config.cer_weight * batch.share * self._expected_return(*pair)
        return loss


@checked
@trains
def fit_ava_p(
    pairs: Sequence[PreferencePair], run: Run, config: AVAConfig | None = None, *,
    negative: Negative = unlikelihood, expected_return: ExpectedReturn = expected_return_loss,
) -> RewardModel:  # fmt: skip
    """Train a reward posterior and a policy on preference pairs (AVA eq. 17 and 18).

    The trained trunk with the language model's own head is the policy of "AVA for direct optimisation".
    `load_language_policy` reads it from the same folder, where the likelihood is the language model's own:
    not with a new Q-value head, another ``alpha`` than 1, or a likelihood as published.

    Args:
        pairs: One-step pairs of one objective.
        run: Model, folder, training options, seed.
        config: See `AVAConfig`.
        negative: Penalty of rejected tokens from `losses.likelihood`: ``unlikelihood`` (the term of eq. 16,
            bounded below), ``clamped_negative``, or ``literal_negative`` (eq. 17).
        expected_return: Loss from `losses.bayesian_irl`: ``expected_return_loss``, or
            ``literal_expected_return_loss`` (eq. 18, which saturates).

    Raises:
        InputError: No training pair, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> reward = pl.learn.fit_ava_p(pairs, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    config = config or AVAConfig()
    return _fit(pairs, run, "ava-p", config, negative, expected_return)


@checked
@trains
def fit_ava_d(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, config: AVAConfig | None = None
) -> RewardModel:
    """Train a reward posterior and a policy on demonstrations (AVA eq. 13).

    Args:
        rows: Demonstrations; or pairs, whose chosen completions are the demonstrations. ``validation`` pairs
            are measured with both completions.
        run: Model, folder, training options, seed.
        config: See `AVAConfig`; without ``cer``, ``neg`` and ``cer_weight``, which are for preferences.

    Raises:
        InputError: No training pair, a setting for preferences was given, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "completion": " yes"} for i in range(8)]
        >>> demonstrations = pl.load_demonstrations(rows)
        >>> reward = pl.learn.fit_ava_d(demonstrations, pl.learn.Run("tiny-random"))
        >>> reward.score(["Say 9:"], [" yes"]).shape
        (1,)
    """
    config = config or AVAConfig()
    for name in ("cer", "neg", "cer_weight"):
        if getattr(config, name) != getattr(AVAConfig, name):
            raise InputError("is for preferences (ava-p), which have rejected completions", field=name)
    return _fit(rows, run, "ava-d", config, unlikelihood, expected_return_loss)


@folder_optional
def _fit(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, method: str, config: AVAConfig,
    negative: Negative, expected_return: ExpectedReturn,
) -> RewardModel:  # fmt: skip
    settings: dict[str, Any] = {
        **dataclasses.asdict(config),
        "negative": _named(negative),
        "expected_return": _named(expected_return),
        **own_source("negative", negative),
        **own_source("expected_return", expected_return),
    }
    session = Session(
        method, run, settings, rows, demonstrations=method == "ava-d", vocabulary=True, head=True
    )
    model: Any = session.backbone.model
    with seeded(run.seed):
        vocabulary = int(model.config.get_text_config().vocab_size)
        tqr = TQR(session.backbone.hidden_size, vocabulary, config.tqr).to(session.backbone.device)
    curve = session.train(AVALoss(tqr, config, session.data, negative, expected_return))
    return session.finish_reward_model(tqr.reward, curve, policy=config.tqr.trains_policy)


def _named(function: Callable[..., Tensor]) -> str:
    """Name of a function, with the arguments that a `functools.partial` gives it."""
    if not isinstance(function, partial):
        return getattr(function, "__name__", type(function).__name__)
    given = [*map(str, function.args), *(f"{key}={value}" for key, value in function.keywords.items())]
    return f"{_named(function.func)}({', '.join(given)})"
