"""Settings of the trainers of rewards, values and weights on texts. Command lines name them as well, so this
module needs no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.rewards.shapes import TQRShape

_LARGEST_MARGIN = 1e6
"""Largest margin, nats; a float32 cannot hold the loss of larger ones."""
# Defaults of settings that cards of earlier versions do not have.
_LATER = {"gamma": 1.0, "at": "tokens"}
Label = Literal["choice", "margin", "softmax"]


@dataclass(frozen=True)
class BradleyTerryConfig:
    """Settings of `fit_bradley_terry` and `fit_bt_variance`.

    Args:
        margin: Margin by which the chosen reward should exceed the rejected one, added to each pair's own
            margin (Llama 2, eq. 2); 0 with pairs without margins is plain Bradley-Terry. It is demanded under
            either label of a pair whose label may be wrong, so that ties prefer neither side.
    """

    margin: float = 0.0

    def __post_init__(self) -> None:
        require(self, {"margin": -_LARGEST_MARGIN}, {"margin": _LARGEST_MARGIN})


@dataclass(frozen=True)
class PreferenceTransformerConfig:
    """Settings of `fit_preference_transformer`.

    Args:
        attention_width: Width of the queries and keys of the attention over tokens (ours).
    """

    attention_width: int = 64

    def __post_init__(self) -> None:
        require(self, {"attention_width": 1})


@dataclass(frozen=True)
class AVAConfig:
    """Settings of `fit_ava_p` and `fit_ava_d`. The paper gives none of these values; ours were chosen on
    validation splits (docs/papers.md).

    Args:
        tqr: Heads and their options.
        beta: Weight of the likelihood (eq. 13, 17).
        gamma: Discount factor in the TD error.
        td_weight: Weight lambda of the TD error's likelihood under the reward (eq. 13).
        kl_weight: Weight of the KL divergence from the prior N(0, 1); below lambda the bound has no maximum,
            because sigma shrinks towards 0.
        cer_weight: Weight of the contrastive expected return (eq. 18; AVA-p only).
        irl: Whether the loss has the TD error and prior terms (False: AVA-p "w/o irl").
        neg: Whether the loss has the term of rejected completions (False: AVA-p "w/o neg").
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
        """Weights of the terms of eq. 13 and 17."""
        on = float(self.irl)
        return {
            "beta": self.beta,
            "gamma": self.gamma,
            "td_weight": on * self.td_weight,
            "kl_weight": on * self.kl_weight,
        }


@dataclass(frozen=True)
class HLGauss:
    """Values by classification: bins over the range of the rewards (`losses.value.hl_gauss_loss`).

    The range is symmetric about the mean reward, so that initial values equal it. At both ends it is two bins
    wider than the farthest training reward, so that no target's Gaussian is truncated near its peak (ours).

    Args:
        bins: Number of bins (Farebrother et al. 2024: 51).
        smoothing: Standard deviation of a target's Gaussian in bin widths (Farebrother et al. 2024: 0.75).
    """

    bins: int = 51
    smoothing: float = 0.75

    def __post_init__(self) -> None:
        require(self, {"bins": 8, "smoothing": 0.01}, {"smoothing": 100})


@dataclass(frozen=True)
class ValueConfig:
    """Settings of `fit_value`.

    Args:
        lam: Parameter lambda of the lambda-returns used as targets (Han et al. 2024: 0.95).
        classes: Settings of values by classification; None trains with the squared error, as Han et al. do.
        gamma: Discount of each step before the end; 1 for none. Rewards are standardised first, so that
            early targets shrink to the mean reward (Shen et al. 2025: 0.9, of correctness 0 or 1).
        at: Places of the targets, which are the steps: every token, or the ends of sentences and of the
            completion (`lm.text_blocks`).
    """

    lam: float = 0.95
    classes: HLGauss | None = None
    gamma: float = 1.0
    at: Literal["tokens", "sentences"] = "tokens"

    def __post_init__(self) -> None:
        require(self, {"lam": 0, "gamma": 0}, {"lam": 1, "gamma": 1})

    def settings(self) -> dict[str, Any]:
        """Settings as a run's card has them; defaults that came later are left out."""
        found = dataclasses.asdict(self)
        return {key: value for key, value in found.items() if (key, value) not in _LATER.items()}


@dataclass(frozen=True)
class WeightsConfig:
    """Settings of `fit_weights`.

    Args:
        label: What the weights are learned from: choice, the weights under which the choices are likeliest;
            margin, softmax of the differences between the rewards of chosen and rejected completions;
            softmax, softmax of the rewards of chosen completions (the paper's, which follows their level).
        temperature: Temperature of the labels margin and softmax.
        penalties: Strengths of the L2 penalty on the layer; the one with the lowest loss on the validation
            split is used, or without one the strongest.
        max_length: Largest number of tokens of a prompt; its end is read.
    """

    label: Label = "choice"
    temperature: float = 1.0
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    max_length: int = 512

    def __post_init__(self) -> None:
        require(self, {"temperature": 1e-9, "max_length": 1})
        if not self.penalties or min(self.penalties) <= 0:
            raise InputError("expected one or more numbers above 0", field="penalties")
