"""What a demonstrator seems to want: a Gaussian reward posterior over listed options, and its Q-values."""

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
from pluralign.folders.card import HEAD, Card, read_folder, read_tensors, write_folder
from pluralign.options.checkpoint import feature_source
from pluralign.options.features import FeatureSource
from pluralign.options.standardised import StandardisedHead

KIND = "option_reward"
MIN_SIGMA = 0.01
"""Below it no posterior is sharper: where the prior weighs less than the temporal difference, the bound
on the evidence has no maximum at sigma = 0."""

_AT_PRIOR = math.log(math.expm1(1.0 - MIN_SIGMA))


class OptionRewardHead(StandardisedHead):
    """Standardise -> two networks of two ELU layers: Q(s, a), and mu, sigma of the reward of (s, a).

    The networks are those of scalable-birl (Chan and van der Schaar 2021), two of 2 x 64 ELU. Theirs
    gives log sigma; here sigma is a softplus above `MIN_SIGMA`, which neither overflows nor reaches zero.

    Args:
        dimension: d, the width of the features.
        hidden: the width of the hidden layers.
    """

    def __init__(self, dimension: int, hidden: int = 64) -> None:
        super().__init__(dimension)
        self.hidden = hidden
        self.q_network = _network(dimension, hidden, 1)
        self.reward_network = _network(dimension, hidden, 2)

    def q_values(self, standardised: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Q of features that went through `standardise`, nats (times beta)."""
        return self.q_network(standardised).squeeze(-1)

    def rewards(
        self, standardised: Float[Tensor, "*batch d"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """mu and sigma of features that went through `standardise`, in the unit of Q."""
        mean, raw = self.reward_network(standardised).unbind(dim=-1)
        return mean, MIN_SIGMA + softplus(raw + _AT_PRIOR)


class OptionRewardPosterior:
    """q(R | s, a) = N(mu, sigma^2) of listed options. As a `core.Policy` it is softmax(beta Q).

    Args:
        name: how reports call it.
        head: the trained part.
        source: where features come from: those it was trained on.
        beta: inverse temperature of the policy.

    Raises:
        InputError: the features are not as wide as the head, or beta is not above zero.
    """

    def __init__(
        self, name: str, head: OptionRewardHead, source: FeatureSource, *, beta: float = 1.0
    ) -> None:
        if head.dimension != source.dimension:
            raise InputError(
                f"posterior {name!r} needs features of {head.dimension} numbers, found {source.dimension}"
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

        The prior is N(0, 1), and a potential that telescopes over an episode is not identified: their order
        means something, their zero does not.
        """
        rows, counts = self._rows(decisions)
        if not counts:
            return []
        with torch.no_grad():
            mean, sigma = (part.double().cpu().split(counts) for part in self.head.rewards(rows))
        return [OptionRewards(m.numpy(), s.numpy()) for m, s in zip(mean, sigma, strict=True)]

    def q_values(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """Q of the options, one array of shape (options,) for each decision, in the unit of the rewards."""
        rows, counts = self._rows(decisions)
        if not counts:
            return []
        with torch.no_grad():
            parts = self.head.q_values(rows).double().cpu().split(counts)
        return [part.numpy() for part in parts]

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `core.Policy.log_probs`: what the demonstrator would do."""
        scaled = [self.beta * q for q in self.q_values(decisions)]
        return [row - np.logaddexp.reduce(row) for row in scaled]

    def _rows(self, decisions: Sequence[Decision]) -> tuple[Float[Tensor, "options d"], list[int]]:
        """Standardised features of all options, and how many each decision has."""
        entries = self.source.get(decisions)
        if not entries:
            return torch.zeros(0, self.head.dimension), []
        rows = torch.from_numpy(np.concatenate([entry.features for entry in entries]))
        counts = [len(entry.features) for entry in entries]
        return self.head.standardise(rows.to(self.head.mean.device)), counts


def save_option_reward(posterior: OptionRewardPosterior, folder: Path, card: Card) -> None:
    """Write a posterior to a folder, whole or not at all (`write_folder`).

    Raises:
        InputError: the folder cannot be written.
    """
    head = posterior.head
    content = {
        "name": posterior.name,
        "beta": posterior.beta,
        "head": {"dimension": head.dimension, "hidden": head.hidden},
    }
    write_folder(folder, KIND, card, content, {HEAD: head.state_dict()})


def load_option_reward(folder: Path, store: FeatureSource | None = None) -> OptionRewardPosterior:
    """Read a posterior from its folder.

    Args:
        folder: what `save_option_reward` wrote.
        store: where its features come from; None loads the backbone that the card names.

    Raises:
        InputError: missing or damaged files, another kind of folder, or features from another backbone
            than the posterior's.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    try:
        head = OptionRewardHead(int(content["head"]["dimension"]), int(content["head"]["hidden"]))
        head.load_state_dict(read_tensors(folder / HEAD))
        source = feature_source(folder, content, store)
        return OptionRewardPosterior(str(content["name"]), head, source, beta=float(content["beta"]))
    except InputError:
        raise
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"does not hold this posterior's head: {reason}", path=folder / HEAD) from error


def _network(dimension: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    # Zeros at first: training begins at the uniform policy and at the prior, N(0, 1).
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dimension, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), last)
