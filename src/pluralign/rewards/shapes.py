"""Shapes of reward heads. Settings and command lines name them as well, so this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pluralign.core.checks import require

Weighting = Literal["none", "bidirectional", "causal"]
Reduction = Literal["last", "sum", "mean"]


@dataclass(frozen=True)
class HeadShape:
    """Type and options of a reward head.

    Args:
        gaussian: Whether the head predicts a standard deviation; otherwise sigma is 0.
        weighting: Weights over a branch's tokens from attention among them (AVA eq. 11; Preference
            Transformer): ``none``, ``bidirectional``, or ``causal``, as AVA has it in a causal model.
        mean_one: Whether to multiply the weights by the branch's length, so that their mean is one instead of
            their sum.
        at_source: Whether to read a token's reward before the token (AVA eq. 9 as published) instead of at
            it.
        reduction: Reward of a branch: that of its ``last`` token, or the ``sum`` (AVA eq. 19) or ``mean``
            over its tokens; with weights of mean one, the mean is Preference Transformer's return.
        attention_width: Width of the queries and keys.
    """

    gaussian: bool = False
    weighting: Weighting = "none"
    mean_one: bool = False
    at_source: bool = False
    reduction: Reduction = "last"
    attention_width: int = 64

    def __post_init__(self) -> None:
        require(self, {"attention_width": 1})


@dataclass(frozen=True)
class TQRShape:
    """Options of a TQR. Where AVA's text does not work as published, the default is a repaired form, and
    ``literal_*`` selects the published one (docs/papers.md lists the effects).

    Args:
        reward_weights: Whether to weight every token's reward and Q-value by attention (eq. 11; False is
            "w/o rwt").
        pretrained_q: Whether the language model's own head gives the Q-values (False is "w/o ptq": a new
            head).
        alpha: Factor of the Q-values in the likelihood (eq. 12, which gives no value). With another one than
            1, the language model's own probabilities are not those that were trained, so there is no policy.
        reduction: Reward of a completion: that of its ``last`` token (as in CER), or the ``sum`` (eq. 19) or
            ``mean`` over its tokens. With weights of mean one, the mean is Preference Transformer's return.
        literal_probabilities: Whether alpha multiplies probabilities (eq. 12) instead of logits; differences
            of Q-values are then at most alpha, and there is no policy.
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
    def trains_policy(self) -> bool:
        """Whether the likelihood is that of the language model itself, which is then a policy."""
        own = self.pretrained_q and self.alpha == 1.0
        return own and not (self.literal_policy or self.literal_probabilities)

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
