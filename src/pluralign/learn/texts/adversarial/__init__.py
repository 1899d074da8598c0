"""Adversarial imitation: alternating discriminator and policy-gradient training."""
