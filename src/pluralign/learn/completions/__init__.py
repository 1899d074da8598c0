"""Learning from texts: preference pairs and demonstrations as forests through a trunk that may learn too."""

from pluralign.learn.completions.adversarial import AdversarialConfig, fit_adversarial
from pluralign.learn.completions.ava import AVAConfig, fit_ava_d, fit_ava_p
from pluralign.learn.completions.direct import DPOConfig, SFTConfig, fit_dpo, fit_sft
from pluralign.learn.completions.discriminator import fit_discriminator
from pluralign.learn.completions.modpo import Margin, MODPOConfig, fit_modpo
from pluralign.learn.completions.preference import (
    BradleyTerryConfig,
    PreferenceTransformerConfig,
    fit_bradley_terry,
    fit_bt_variance,
    fit_preference_transformer,
)
from pluralign.learn.completions.session import Run
from pluralign.learn.completions.spin import SPINConfig, fit_spin
from pluralign.learn.completions.training import Training
from pluralign.learn.completions.value import HLGauss, ValueConfig, fit_value

__all__ = [
    "AVAConfig",
    "AdversarialConfig",
    "BradleyTerryConfig",
    "DPOConfig",
    "HLGauss",
    "MODPOConfig",
    "Margin",
    "PreferenceTransformerConfig",
    "Run",
    "SFTConfig",
    "SPINConfig",
    "Training",
    "ValueConfig",
    "fit_adversarial",
    "fit_ava_d",
    "fit_ava_p",
    "fit_bradley_terry",
    "fit_bt_variance",
    "fit_discriminator",
    "fit_dpo",
    "fit_modpo",
    "fit_preference_transformer",
    "fit_sft",
    "fit_spin",
    "fit_value",
]
