"""Settings of the trainers of policies on texts. Command lines name them as well, so this module needs no
torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.learn.phase import GradientsName, require_gradients
from pluralign.learn.texts.training_options import Training


@dataclass(frozen=True)
class DPOConfig:
    """Settings of `fit_dpo`.

    Args:
        beta: Temperature of the implicit reward (Rafailov et al. 2023: 0.1).
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9})


@dataclass(frozen=True)
class LiPOConfig:
    """Settings of `fit_lipo`.

    Args:
        beta: Temperature of the implicit reward, the factor of log pi / pi_ref in scores (Liu et al. 2024:
            0.05).
    """

    beta: float = 0.05

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9})


@dataclass(frozen=True)
class MODPOConfig:
    """Settings of `fit_modpo`.

    Args:
        beta: Temperature of the implicit reward, which here is the weighted sum of all rewards (Zhou et al.
            2024: 0.1).
        standardise: Whether each margin reward is divided by its standard deviation within the training
            pairs; for rewards in arbitrary units. Off by default, as in the paper: the loss adds
            rewards as log-odds of a preference. Rewards of Bradley-Terry models and implicit rewards of DPO
            already are log-odds.
    """

    beta: float = 0.1
    standardise: bool = False

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9})


@dataclass(frozen=True)
class SFTConfig:
    """Settings of `fit_sft`.

    Args:
        contrastive: Whether rejected completions are made less likely (AVA-p "w/o irl" and "w/o cer").
        occupancy: Whether token k of T has the weight (T - k) / T, which gives the forward KL divergence
            between state-action occupancies instead of whole completions (Inverse-RLignment eq. 29).
    """

    contrastive: bool = False
    occupancy: bool = False

    def __post_init__(self) -> None:
        require(self, {})
        if self.contrastive and self.occupancy:
            raise InputError(
                "weights demonstrations and cannot be combined with contrastive", field="occupancy"
            )


@dataclass(frozen=True)
class AWRConfig:
    """Settings of `fit_awr`.

    Args:
        beta: Temperature of the weights of tokens, in standard deviations of the advantages of tokens that
            have siblings (ours, as for stories; smaller is greedier).
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-6})


@dataclass(frozen=True)
class SPINConfig:
    """Settings of `fit_spin`.

    Args:
        iterations: Number of iterations of sampling and training (Chen et al. 2024: up to 4; most of the gain
            comes from the first two).
        beta: Temperature of the implicit reward (Chen et al.'s lambda: 0.1).
        max_new_tokens: Largest number of tokens of a sample.
        temperature: Sampling temperature.
        samples: Number of samples per prompt and iteration.
    """

    iterations: int = 2
    beta: float = 0.1
    max_new_tokens: int = 128
    temperature: float = 1.0
    samples: int = 1

    def __post_init__(self) -> None:
        require(
            self,
            {"iterations": 1, "beta": 1e-9, "max_new_tokens": 1, "temperature": 0, "samples": 1},
        )


@dataclass(frozen=True)
class AdversarialConfig:
    """Settings of `fit_adversarial`, in addition to the policy's `Training`.

    Args:
        rounds: Number of rounds of discriminator and policy-gradient training (ours).
        prompts: Number of training prompts per round, drawn again for each round (ours).
        samples: Number of completions per prompt, for the discriminator and for the policy gradient (ours).
        max_new_tokens: Largest number of tokens per completion; longer demonstrations are truncated
            (Inverse-RLignment: 48 on harmless, 128 on helpful).
        temperature: Sampling temperature of the policy; imitation happens at this temperature.
        logit_limit: Largest absolute value of the discriminator's logits as rewards (ours; the discriminator
            is unreliable where it has seen no sample).
        kl: Weight of log pi - log pi_initial, which is subtracted from the rewards; 0 for imitation only.
        discriminator: Training options of each round's discriminator, which starts from the base model
            (Inverse-RLignment: 2 epochs, batches of 8).
    """

    rounds: int = 4
    prompts: int = 256
    samples: int = 4
    max_new_tokens: int = 128
    temperature: float = 1.0
    logit_limit: float = 10.0
    kl: float = 0.0
    discriminator: Training = dataclasses.field(default_factory=lambda: Training(epochs=2.0))

    def __post_init__(self) -> None:
        require(self, {"rounds": 1, "prompts": 1, "samples": 2, "max_new_tokens": 1, "kl": 0})
        require(self, {"temperature": 1e-6, "logit_limit": 1e-6})


@dataclass(frozen=True)
class MAHDPOConfig:
    """Settings of `fit_mah_dpo`.

    Args:
        beta: Temperature of the implicit reward (Rafailov et al. 2023: 0.1).
        rank: Rank of each head's change of the vocabulary head (ours: 16).
        trunk: What is trained below the heads: with frozen nothing, so that each head is trained alone on its
            objective's pairs; with joint an adapter or the uppermost layers (training options), together with
            all heads, as in the paper.
        gradients: Weights of the objectives' gradients on a joint trunk: equal ones (sum, as in the paper),
            those of the shortest vector, along which no loss of the step rises (min_norm: MGDA), or those
            that follow the gradient of validation pairs (guided: ParetoDA). Heads keep their own losses.
    """

    beta: float = 0.1
    rank: int = 16
    trunk: Literal["frozen", "joint"] = "frozen"
    gradients: GradientsName = "sum"

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9, "rank": 1})
        if self.trunk not in ("frozen", "joint"):
            raise InputError(f"must be frozen or joint, found {self.trunk!r}", field="trunk")
        require_gradients(self.gradients)
        if self.gradients != "sum" and self.trunk == "frozen":
            raise InputError(
                "heads on a frozen trunk share nothing; give --config.trunk joint", field="gradients"
            )
