"""Adversarial imitation: a discriminator and a policy gradient in turn."""

from pluralign.learn.texts.adversarial.loop import (
    AdversarialConfig,
    discriminator_pairs,
    fit_adversarial,
)

__all__ = ["AdversarialConfig", "discriminator_pairs", "fit_adversarial"]
