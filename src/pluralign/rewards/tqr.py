"""TQR: heads for Q-values and rewards on a transformer (AVA, "TQR Architecture", eq. 8-12)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.lm.forest import Forest
from pluralign.lm.vocabulary import by_chunks, token_log_probs, vocabulary_logits
from pluralign.losses.bayesian_irl import TokenTerms
from pluralign.rewards.heads import RewardHead
from pluralign.rewards.shapes import TQRShape


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
        shape = self.shape
        if self.q_head is None and not shape.literal_policy and not shape.literal_probabilities:
            # The Q-value is the log-softmax itself (eq. 12).
            found = token_log_probs(model, hidden, forest, 1 / shape.alpha)[:, None].expand(-1, 2)
        else:
            found = by_chunks(
                lambda *chunk: self._chunk(model, *chunk),
                hidden[forest.sources],
                forest.input_ids[0, forest.places],
                scale,
                learns=True,
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
        log_policy = _log_softmax_at(logits, targets, scale)
        return torch.stack([log_policy, log_policy], dim=1)


def _log_softmax_at(
    logits: Float[Tensor, "tokens vocabulary"],
    targets: Int[Tensor, " tokens"],
    scale: Float[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    scaled = logits * scale[:, None]
    return scaled.gather(1, targets[:, None]).squeeze(1) - torch.logsumexp(scaled, dim=-1)
