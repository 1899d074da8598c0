"""Blending policies when they are used: inference only."""

from pluralign.steer.mixing import mix_log_probs
from pluralign.steer.steered_policy import Blend, SteeredPolicy

__all__ = ["Blend", "SteeredPolicy", "mix_log_probs"]
