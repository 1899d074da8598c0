"""TQR: heads for Q-values and rewards on a transformer (AVA, "TQR Architecture", eq. 8-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core.checks import require
from pluralign.lm.forest import Forest
from pluralign.lm.vocabulary import by_chunks, vocabulary_logits
from pluralign.losses.bayesian_irl import TokenTerms
from pluralign.rewards.heads import HeadShape, Reduction, RewardHead


@dataclass(frozen=True)
class TQRShape:
    """Options of a TQR. Where AVA's text does not work as published, the default is a repaired form, and
    ``literal_*`` selects the published one (docs/papers.md lists the effects).

    Args:
        reward_weights: Whether to weight every token's reward and Q-value by attention (eq. 11; False is
            "w/o rwt").
        pretrained_q: Whether the language model's own head gives the Q-values (False is "w/o ptq": a new
            head).
        alpha: Temperature of the Q-values (eq. 12, which gives no value).
        reduction: Reward of a completion: that of its ``last`` token (as in CER), or the ``sum`` (eq. 19) or
            ``mean`` over its tokens. With weights of mean one, the mean is Preference Transformer's return.
        literal_probabilities: Whether alpha multiplies probabilities (eq. 12) instead of logits; differences
            of Q-values are then at most alpha.
        literal_shift: Whether a token's reward is read before the token (eq. 9).
        literal_weights: Whether the attention of eq. 11 is causal with weights that sum to one instead of the
            length.
        literal_policy: Whether the weights also multiply the logits of the likelihood; no policy can then be
            derived, because the weights depend on later tokens.
        attention_width: Width of the queries and keys of the weights (ours).
    """

    reward_weights: bool = True
    pretrained_q: bool = True
    alpha: float = 1.0
    reduction: Reduction = "mean"
    literal_probabilities: bool = False
    literal_shift: bool = False
    literal_weights: bool = False
    literal_policy: bool = False
    attention_width: int = 64

    def __post_init__(self) -> None:
        require(self, {"alpha": 1e-9, "attention_width": 1})

    @property
    def head(self) -> HeadShape:
        """Shape of the reward head."""
        weighting = (
            "none" if not self.reward_weights else "causal" if self.literal_weights else "bidirectional"
        )
        return HeadShape(
            gaussian=True,
            weighting=weighting,
            mean_one=not self.literal_weights,
            at_source=self.literal_shift,
            reduction=self.reduction,
            attention_width=self.attention_width,
        )


class TQR(nn.Module):
    """Q-value and reward heads on a trunk.

    Args:
        dimension: Width d of the hidden states.
        vocabulary: Vocabulary size, for a new Q-value head.
        shape: Options of the heads.
    """

    def __init__(self, dimension: int, vocabulary: int, shape: TQRShape) -> None:
        super().__init__()
        self.shape = shape
        self.reward = RewardHead(dimension, shape.head)
        self.q_head = None if shape.pretrained_q else nn.Linear(dimension, vocabulary, bias=False)
        if self.q_head is not None:
            nn.init.normal_(self.q_head.weight, std=0.02)

    def forward(
        self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest
    ) -> TokenTerms:
        """Likelihood, Q-value and reward of each branch token.

        Args:
            model: Language model, whose vocabulary head gives the Q-values with ``pretrained_q``.
            hidden: Hidden states of the forest.
            forest: Forest of token trees.

        Returns:
            ``log_policy`` is log B(y_t | y_<t; Q); ``q_values``, ``mean`` and ``sigma`` include the weights.
            A token without predecessor has log-probability and Q-value 0.
        """
        weights = self.reward.weights(hidden, forest)
        scale = self.shape.alpha * (weights if self.shape.literal_policy else torch.ones_like(weights))
        found = by_chunks(
            lambda *chunk: self._chunk(model, *chunk),
            hidden[forest.sources],
            forest.input_ids[0, forest.places],
            scale,
        ).masked_fill(~forest.predicted[:, None], 0.0)
        rewards = self.reward(hidden, forest)
        return TokenTerms(
            log_policy=found[:, 0],
            q_values=found[:, 1] * weights,
            mean=rewards.mean,
            sigma=rewards.sigma,
            owner=forest.token_branches,
        )

    def _chunk(
        self,
        model: Any,
        states: Float[Tensor, "tokens d"],
        targets: Int[Tensor, " tokens"],
        scale: Float[Tensor, " tokens"],
    ) -> Float[Tensor, "tokens 2"]:
        if self.q_head is not None:
            logits = self.q_head(states).float()
            chosen = logits.gather(1, targets[:, None]).squeeze(1)
            log_policy = _log_softmax_at(logits, targets, scale)
            return torch.stack([log_policy, chosen], dim=1)
        logits = vocabulary_logits(model, states)
        if self.shape.literal_probabilities:
            logits = logits.softmax(dim=-1)
        # The Q-value is the log-softmax itself (eq. 12).
        log_policy = _log_softmax_at(logits, targets, scale)
        return torch.stack([log_policy, log_policy], dim=1)


def _log_softmax_at(
    logits: Float[Tensor, "tokens vocabulary"],
    targets: Int[Tensor, " tokens"],
    scale: Float[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    scaled = logits * scale[:, None]
    return scaled.gather(1, targets[:, None]).squeeze(1) - torch.logsumexp(scaled, dim=-1)
