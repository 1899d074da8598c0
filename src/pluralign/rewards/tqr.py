"""TQR: a transformer with a Q-value head and a reward head (AVA, "TQR Architecture", eq. 8-12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.lm.forest import Forest
from pluralign.lm.vocabulary import by_chunks, vocabulary_logits
from pluralign.losses.bayesian_irl import TokenTerms
from pluralign.rewards.heads import HeadShape, Reduction, RewardHead


@dataclass(frozen=True)
class TQRShape:
    """The switches of a TQR. Where AVA's text does not work as written, the default is the repaired form
    and ``literal_*`` is the text (docs/papers.md has what each changes).

    Args:
        reward_weights: weigh every token's reward and Q-value by attention (eq. 11; False is "w/o rwt").
        pretrained_q: the language model's own head gives the Q-values (False is "w/o ptq": a new head).
        alpha: temperature of the Q-values (eq. 12; not given there).
        reduction: the reward of a completion: of its ``last`` token (as in CER), or the ``sum`` (eq. 19) or
            ``mean`` over its tokens. With weights of mean one the mean is Preference Transformer's return.
        literal_probabilities: alpha multiplies probabilities (eq. 12), not logits: gaps are alpha at most.
        literal_shift: a token's reward is read before it is seen (eq. 9).
        literal_weights: attention of eq. 11 is causal and its weights sum to one, not to the length.
        literal_policy: weights multiply the logits of the likelihood too; no policy can then be read off,
            as the weights look ahead.
        attention_width: of the weights' queries and keys (ours).
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

    @property
    def head(self) -> HeadShape:
        """The reward head's shape."""
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
    """The heads on a trunk.

    Args:
        dimension: d, the width of the hidden states.
        vocabulary: its size, for a new Q-value head.
        shape: the switches.
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
            model: whose vocabulary head gives the Q-values where the shape says so.
            hidden: the forest's hidden states.
            forest: the trees.

        Returns:
            ``log_policy`` is log B(y_t | y_<t; Q); ``q_values``, ``mean`` and ``sigma`` carry the weights.
            A token that nothing predicts has log-probability and Q-value 0.
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
