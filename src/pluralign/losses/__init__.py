"""Losses that `fit_policy` and `fit_reward` take: pure functions of tensors, one loss per pair.

A policy's loss maps ``(chosen, rejected, reference_chosen, reference_rejected)``, log-probabilities of the
completions under the policy and under the reference, nats, shape (pairs,), to a loss per pair. A reward
model's loss maps ``(chosen, rejected, margin)`` to it, or ``(chosen, rejected, chosen_sigma, rejected_sigma,
margin)`` where the head is Gaussian. A function of your own with one of these signatures is a loss, too.
"""

from pluralign.losses.contrastive import dpo, ipo, label_expectation, simpo
from pluralign.losses.reward import bradley_terry, learned_variance

__all__ = ["bradley_terry", "dpo", "ipo", "label_expectation", "learned_variance", "simpo"]
