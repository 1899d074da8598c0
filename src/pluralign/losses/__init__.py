"""Losses that `fit_policy` and `fit_reward` take: pure functions of tensors, one loss per pair.

A loss of a policy maps ``(chosen, rejected, reference_chosen, reference_rejected)`` to one loss per pair.
These are log-probabilities of the completions under the policy and under the reference, in nats, shape
(pairs,). A loss of a reward model maps ``(chosen, rejected, margin)`` to one loss per pair, or ``(chosen,
rejected, chosen_sigma, rejected_sigma, margin)`` if the head is Gaussian. Any function with one of these
signatures works.
"""

from __future__ import annotations

from pluralign.lazy import lazy_names

# The losses of choices need no torch.
__getattr__, __dir__, __all__ = lazy_names(__name__)
