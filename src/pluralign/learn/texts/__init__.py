"""Training on texts: preference pairs and demonstrations, as forests of tokens through a language model."""

from pluralign.learn.texts.adversarial import AdversarialConfig, fit_adversarial
from pluralign.learn.texts.ava import AVAConfig, fit_ava_d, fit_ava_p
from pluralign.learn.texts.modpo import Margin, MODPOConfig, fit_modpo
from pluralign.learn.texts.policies import DPOConfig, fit_dpo, fit_policy, learn_policy
from pluralign.learn.texts.rewards import (
    BradleyTerryConfig,
    PreferenceTransformerConfig,
    fit_bradley_terry,
    fit_bt_variance,
    fit_discriminator,
    fit_preference_transformer,
    fit_reward,
)
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import SFTConfig, fit_sft
from pluralign.learn.texts.spin import SPINConfig, fit_spin
from pluralign.learn.texts.training import Training
from pluralign.learn.texts.value import HLGauss, ValueConfig, fit_value

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
    "fit_policy",
    "fit_preference_transformer",
    "fit_reward",
    "fit_sft",
    "fit_spin",
    "fit_value",
    "learn_policy",
]
