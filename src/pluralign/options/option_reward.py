"""A Gaussian posterior over a demonstrator's rewards of listed options, with its Q-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.folders.card import HEAD, Card, read_folder, write_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.options.checkpoint import feature_source
from pluralign.options.features import FeatureSource
from pluralign.options.standardised import StandardisedHead

KIND = "option_reward"
MIN_SIGMA = 0.01
"""Smallest sigma: if the prior has less weight than the TD error, the evidence bound has no maximum and grows
towards sigma = 0."""

_AT_PRIOR = math.log(math.expm1(1.0 - MIN_SIGMA))


class OptionRewardHead(StandardisedHead):
    """Standardisation -> two networks of two ELU layers: Q(s, a), and mu and sigma of the reward of (s, a).

    The networks are those of scalable-birl (Chan and van der Schaar 2021), two of 2 x 64 ELU units. Theirs
    outputs log sigma; here sigma is a softplus above `MIN_SIGMA`, which neither overflows nor reaches zero.

    Args:
        dimension: Width d of the features.
        hidden: Width of the hidden layers.
    """

    def __init__(self, dimension: int, hidden: int = 64) -> None:
        super().__init__(dimension)
        self.hidden = hidden
        self.q_network = _network(dimension, hidden, 1)
        self.reward_network = _network(dimension, hidden, 2)

    def q_values(self, standardised: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Q-values of features that already passed through `standardise`, nats (times beta)."""
        return self.q_network(standardised).squeeze(-1)

    def rewards(
        self, standardised: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """mu and sigma of features that already passed through `standardise`, in the unit of Q."""
        mean, raw = self.reward_network(standardised).unbind(dim=-1)
        return mean, MIN_SIGMA + softplus(raw + _AT_PRIOR)


class OptionRewardPosterior:
    """q(R | s, a) = N(mu, sigma^2) of listed options. As a `core.Policy` it is softmax(beta Q).

    Args:
        name: Name in reports.
        head: Trained head.
        source: Source of the features that it was trained on.
        beta: Inverse temperature of the policy.

    Raises:
        InputError: The features have another width than the head expects, or beta is not above 0.
    """

    def __init__(
        self, name: str, head: OptionRewardHead, source: FeatureSource, *, beta: float = 1.0
    ) -> None:
        if head.dimension != source.dimension:
            raise InputError(
                f"posterior {name!r} needs features of width {head.dimension}, found {source.dimension}"
            )
        if not beta > 0:
            raise InputError(f"must be above 0, found {beta}", field="beta")
        self._name, self.head, self.source, self.beta = name, head.eval(), source, beta

    @property
    def name(self) -> str:
        """See `core.Policy.name`."""
        return self._name

    def rewards(self, decisions: Sequence[Decision]) -> list[OptionRewards]:
        """mu and sigma of the reward of each option, in nats (times beta), for each decision.

        The prior is N(0, 1), and potentials that telescope over an episode are not identified: the order of
        rewards is meaningful, their zero is not.
        """
        rows, counts = self._rows(decisions)
        if not counts:
            return []
        with torch.no_grad():
            mean, sigma = (part.cpu().double().split_with_sizes(counts) for part in self.head.rewards(rows))
        return [OptionRewards(m.numpy(), s.numpy()) for m, s in zip(mean, sigma, strict=True)]

    def q_values(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """Q-values of the options, one array of shape (options,) per decision, in the unit of the rewards."""
        rows, counts = self._rows(decisions)
        if not counts:
            return []
        with torch.no_grad():
            parts = self.head.q_values(rows).cpu().double().split_with_sizes(counts)
        return [part.numpy() for part in parts]

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`; the policy of the demonstrator."""
        scaled = [self.beta * q for q in self.q_values(decisions)]
        return [row - np.logaddexp.reduce(row) for row in scaled]

    def _rows(self, decisions: Sequence[Decision]) -> tuple[Float[Tensor, "options d"], list[int]]:
        """Standardised features of all options, and the number of options of each decision."""
        entries = self.source.get(decisions)
        if not entries:
            return torch.zeros(0, self.head.dimension), []
        rows = torch.as_tensor(np.concatenate([entry.features for entry in entries]))
        counts = [len(entry.features) for entry in entries]
        return self.head.standardise(rows.to(self.head.mean.device)), counts


def save_option_reward(posterior: OptionRewardPosterior, folder: Path, card: Card) -> None:
    """Write a posterior to a folder, completely or not at all (`write_folder`).

    Raises:
        InputError: The folder cannot be written.
    """
    head = posterior.head
    content = {
        "name": posterior.name,
        "beta": posterior.beta,
        "head": {"dimension": head.dimension, "hidden": head.hidden},
    }
    write_folder(folder, KIND, card, content, {HEAD: head.state_dict()})


def load_option_reward(folder: Path, store: FeatureSource | None = None) -> OptionRewardPosterior:
    """Load a posterior from its folder.

    Args:
        folder: Folder written by `save_option_reward`.
        store: Source of features; None loads the backbone named on the card.

    Raises:
        InputError: Files are missing or damaged, the folder holds another kind of model, or the features are
            from a different backbone.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    try:
        shape = int(content["head"]["dimension"]), int(content["head"]["hidden"])
        head = filled(lambda: OptionRewardHead(*shape), read_tensors(folder / HEAD))
        source = feature_source(folder, content, store)
        return OptionRewardPosterior(str(content["name"]), head, source, beta=float(content["beta"]))
    except InputError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"does not contain this posterior's head: {reason}", path=folder / HEAD) from error


def _network(dimension: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    # Zero initial outputs: training starts from the uniform policy and the prior, N(0, 1).
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dimension, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), last)
