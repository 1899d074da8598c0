"""Interfaces between stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision


class Policy(Protocol):
    """A policy that chooses among listed options.

    Examples:
        >>> import pluralign as pl
        >>> policy: pl.Policy = pl.UniformPolicy()
        >>> policy.name
        'random'
    """

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """Log-probabilities of the options, one array of shape (options,) per decision. The probabilities of
        each decision sum to one and do not depend on the rest of the batch."""
        ...


class UniformPolicy:
    """Chooses every option with the same probability (random play).

    Examples:
        >>> import pluralign as pl
        >>> pl.UniformPolicy().log_probs([pl.Decision("Say:", ("a", "b"))])[0].round(3).tolist()
        [-0.693, -0.693]
    """

    name = "random"

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `Policy.log_probs`."""
        return [np.full(len(d.options), -np.log(len(d.options))) for d in decisions]


def require_policy(policy: Policy, field: str = "policy") -> None:
    """Check that something is a policy.

    Args:
        policy: What is to be one.
        field: Name of the argument, for the error.

    Raises:
        InputError: It is anything else, such as a policy's name or class.
    """
    if isinstance(policy, type) or not hasattr(policy, "log_probs"):
        raise InputError(f"expected a policy, found {policy!r:.60}", field=field)
