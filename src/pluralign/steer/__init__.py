"""Blending policies when they are used: inference only."""

from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC, mix_log_probs
from pluralign.steer.steered_policy import Blend, SteeredPolicy

__all__ = ["ARITHMETIC", "GEOMETRIC", "HARMONIC", "Blend", "SteeredPolicy", "mix_log_probs"]
