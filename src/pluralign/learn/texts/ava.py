"""Approximated Variational Alignment: AVA-p from preferences, AVA-d from demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import Demonstration, PreferencePair
from pluralign.core.checks import require
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.losses.bayesian_irl import (
    TokenTerms,
    ava_demonstration_loss,
    ava_preference_loss,
    expected_return_loss,
)
from pluralign.losses.likelihood import unlikelihood
from pluralign.rewards.heads import GaussianRewards
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.tqr import TQR, TQRShape

Negative = Callable[[Tensor], Tensor]
ExpectedReturn = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AVAConfig:
    """How `fit_ava_p` and `fit_ava_d` learn. The paper gives none of these numbers; ours are chosen on
    validation splits (docs/papers.md).

    Args:
        tqr: Heads and their switches.
        beta: Weight of the likelihood (eq. 13, 17).
        gamma: Discount in the TD error.
        td_weight: Lambda, weight of the TD error's likelihood under the reward (eq. 13).
        kl_weight: Weight of the KL divergence from the prior N(0, 1); below lambda the bound has no maximum,
            as sigma shrinks without end.
        cer_weight: Weight of the contrastive expected return (eq. 18; AVA-p only).
        irl: Whether the loss has TD error and prior (False: AVA-p "w/o irl").
        neg: Whether the loss has the rejected completions' likelihood (False: AVA-p "w/o neg").
        cer: Whether the loss has the contrastive expected return (False: AVA-p "w/o cer").
    """

    tqr: TQRShape = field(default_factory=TQRShape)
    beta: float = 0.1
    gamma: float = 1.0
    td_weight: float = 0.001
    kl_weight: float = 0.001
    cer_weight: float = 1.0
    irl: bool = True
    neg: bool = True
    cer: bool = True

    def __post_init__(self) -> None:
        names = ("beta", "gamma", "td_weight", "kl_weight", "cer_weight")
        require(self, dict.fromkeys(names, 0), {"gamma": 1})

    @property
    def weights(self) -> dict[str, float]:
        """Of the terms of eq. 13 and 17."""
        on = float(self.irl)
        return {
            "beta": self.beta,
            "gamma": self.gamma,
            "td_weight": on * self.td_weight,
            "kl_weight": on * self.kl_weight,
        }


class AVALoss(BatchLoss):
    """TQR heads with the losses of AVA.

    Token sums are divided by the tokens that a step's completions have in the mean over the data, not by
    this step's own: so batches add up, however a step is cut into forests and processes.

    Args:
        tqr: the heads.
        config: weights and switches.
        data: the rows, for the mean number of tokens.
        negative: what the rejected tokens' log-probabilities cost.
        expected_return: of the chosen's and the rejected's rewards.
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


def fit_ava_p(
    pairs: Sequence[PreferencePair], run: Run, config: AVAConfig | None = None, *,
    negative: Negative = unlikelihood, expected_return: ExpectedReturn = expected_return_loss,
) -> RewardModel:  # fmt: skip
    """Learn a reward posterior, and a policy, from preference pairs (AVA eq. 17 and 18).

    The trained trunk with the language model's own head is the policy of "AVA for direct optimisation":
    `load_language_policy` reads it from the same folder, unless the Q-value head was new.

    Args:
        pairs: one-step pairs of one objective.
        run: model, folder, training, seed.
        config: see `AVAConfig`.
        negative: what rejected tokens cost: ``unlikelihood`` (eq. 16's own term, bounded below), or
            ``clamped_negative`` or ``literal_negative`` (eq. 17), of `losses.likelihood`.
        expected_return: ``expected_return_loss``, or ``literal_expected_return_loss`` (eq. 18, which
            saturates), of `losses.bayesian_irl`.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    config = config or AVAConfig()
    return _fit(pairs, run, "ava-p", config, negative, expected_return)


def fit_ava_d(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, config: AVAConfig | None = None
) -> RewardModel:
    """Learn a reward posterior, and a policy, from demonstrations (AVA eq. 13).

    Args:
        rows: demonstrations; or pairs, whose chosen halves are taken, and both halves of ``validation``
            pairs measured on.
        run: model, folder, training, seed.
        config: see `AVAConfig`; its ``cer``, ``neg`` and ``cer_weight`` mean nothing here.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    return _fit(rows, run, "ava-d", config or AVAConfig(), unlikelihood, expected_return_loss)


@folder_optional
def _fit(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, method: str, config: AVAConfig,
    negative: Negative, expected_return: ExpectedReturn,
) -> RewardModel:  # fmt: skip
    settings: dict[str, Any] = {
        **dataclasses.asdict(config),
        "negative": negative.__name__,
        "expected_return": expected_return.__name__,
    }
    session = Session(method, run, settings, rows, demonstrations=method == "ava-d", vocabulary=True)
    model = session.backbone.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        vocabulary = int(model.config.get_text_config().vocab_size)
        tqr = TQR(session.backbone.hidden_size, vocabulary, config.tqr).to(session.backbone.device)
    curve = session.train(AVALoss(tqr, config, session.data, negative, expected_return))
    policy = config.tqr.pretrained_q and not config.tqr.literal_policy
    return session.finish_reward_model(tqr.reward, curve, policy=policy)
