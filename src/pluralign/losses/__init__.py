"""Losses that `fit_policy` and `fit_reward` take: pure functions of tensors, one loss per pair.

A loss of a policy maps ``(chosen, rejected, reference_chosen, reference_rejected)`` to one loss per pair.
These are log-probabilities of the completions under the policy and under the reference, in nats, shape
(pairs,). A loss of a reward model maps ``(chosen, rejected, margin)`` to one loss per pair, or ``(chosen,
rejected, chosen_sigma, rejected_sigma, margin)`` if the head is Gaussian. Any function with one of these
signatures works.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pluralign.losses.contrastive import dpo, ipo, label_expectation, simpo
    from pluralign.losses.reward import bradley_terry, learned_variance

_HOMES = {
    "bradley_terry": "reward",
    "dpo": "contrastive",
    "ipo": "contrastive",
    "label_expectation": "contrastive",
    "learned_variance": "reward",
    "simpo": "contrastive",
}
"""Module of each loss, imported when the loss is first used: the losses of choices need no torch."""

__all__ = ["bradley_terry", "dpo", "ipo", "label_expectation", "learned_variance", "simpo"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
