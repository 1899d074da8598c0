"""Steering at inference time: mixtures of policies, value guidance, best-of-N, targets on rewards."""

from pluralign.steer.mixing import ARITHMETIC, GEOMETRIC, HARMONIC, mix_log_probs
from pluralign.steer.steered_policy import Blend, SteeredPolicy
from pluralign.steer.targets import Palette, meet_targets

__all__ = [
    "ARITHMETIC",
    "GEOMETRIC",
    "HARMONIC",
    "Blend",
    "Palette",
    "SteeredPolicy",
    "meet_targets",
    "mix_log_probs",
]
