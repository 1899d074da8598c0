"""Adversarial imitation: alternating discriminator and policy-gradient training."""

from pluralign.learn.texts.adversarial.loop import (
    AdversarialConfig,
    discriminator_pairs,
    fit_adversarial,
)

__all__ = ["AdversarialConfig", "discriminator_pairs", "fit_adversarial"]
