"""DRRN, the online RL baseline of MACHIAVELLI: Q-values over listed options, trained in the game.

Source: He et al. 2016, "Deep Reinforcement Learning with a Natural Language Action Space"; Pan et al. 2023
use it as their RL agent. Ours reads frozen features of (prompt, option) instead of training text encoders,
and its targets come from a moving average of the network (the published code bootstraps from the network
itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pluralign.core import Decision, InputError
from pluralign.folders.card import Q_NETWORK, Card, read_folder, write_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.options.checkpoint import describe_source, feature_source
from pluralign.options.features import FeatureSource
from pluralign.options.q_network import QNetwork

KIND = "option_q_values"


@dataclass(frozen=True)
class DRRNConfig:
    """Settings of DRRN's training. Temperatures are in units of the mean absolute return of random play.

    Args:
        steps: Number of game steps, over all environments.
        environments: Number of games played in parallel.
        warm_up: Number of initial random steps, fewer than ``steps``, which also determine the scales of
            features and rewards.
        updates: Number of network updates per round of steps (one step in every environment).
        batch_size: Number of replayed steps per update.
        memory: Capacity of the replay buffer, in steps.
        gamma: Discount factor; scores are not discounted.
        learning_rate: Learning rate of Adam.
        hidden: Width of the Q network.
        temperature: Final temperature of the softmax over Q, and temperature of the trained policy.
        first_temperature: Initial temperature; it decays geometrically over the first three quarters.
        max_steps: Number of steps after which an episode is truncated (with bootstrapping there).
    """

    steps: int = 20_000
    environments: int = 16
    warm_up: int = 1_000
    updates: int = 3
    batch_size: int = 128
    memory: int = 20_000
    gamma: float = 1.0
    learning_rate: float = 1e-3
    hidden: int = 128
    temperature: float = 0.01
    first_temperature: float = 0.3
    max_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("steps", "environments", "warm_up", "updates", "batch_size", "memory", "max_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"expected one or more, found {getattr(self, name)}", field=name)
        if self.warm_up >= self.steps:
            raise InputError(
                f"expected fewer than the {self.steps} steps, found {self.warm_up}: nothing would be learned",
                field="warm_up",
            )
        for name in ("temperature", "first_temperature", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"expected a positive number, found {getattr(self, name)}", field=name)
        if not 0 <= self.gamma <= 1:
            raise InputError(f"expected 0 to 1, found {self.gamma}", field="gamma")


class DRRNPolicy:
    """softmax(Q / temperature) over the listed options.

    Args:
        network: Q network, in units of the reward's scale.
        features: Features that the network reads.
        temperature: Temperature in the same units; lower is greedier.
        name: Name in reports.
        card: Card with config, seed, training curve and trunk of the features.
    """

    def __init__(
        self,
        network: QNetwork,
        features: FeatureSource,
        *,
        temperature: float,
        name: str = "drrn",
        card: Card | None = None,
    ) -> None:
        # In double precision, a decision's Q-values do not depend on the rest of the batch.
        self._network, self._features = network.double().eval(), features
        self.temperature, self._name, self.card = temperature, name, card or Card("drrn")

    @property
    def name(self) -> str:
        """Name in reports."""
        return self._name

    def q_values(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """Q-values of the options, one array of shape (options,) per decision, in units of the reward's scale
        (``card.figures["reward_scale"]``)."""
        if not decisions:
            return []
        found = [f.features for f in self._features.get(decisions)]
        with torch.no_grad():
            rows = torch.as_tensor(np.concatenate(found)).double()
            q = self._network(rows).numpy()
        return np.split(q, np.cumsum([len(f) for f in found])[:-1])

    def log_probs(self, decisions: Sequence[Decision]) -> list[npt.NDArray[np.float64]]:
        """See `Policy.log_probs`."""
        scaled = [q / self.temperature for q in self.q_values(decisions)]
        return [s - np.logaddexp.reduce(s) for s in scaled]

    def save(self, folder: str | Path) -> None:
        """Write the policy to a folder, completely or not at all (`write_folder`).

        Raises:
            InputError: The folder cannot be written.
        """
        card = replace(self.card, backbone=describe_source(self._features))
        content = {"name": self._name, "temperature": self.temperature}
        write_folder(Path(folder), KIND, card, content, {Q_NETWORK: self._network.state_dict()})

    @classmethod
    def load(cls, folder: str | Path, features: FeatureSource | None = None) -> DRRNPolicy:
        """Load a policy that `save` wrote, in this version or in 0.1.0.

        Args:
            folder: Folder of the policy.
            features: Features that the network reads; None loads the backbone named on the card.

        Raises:
            InputError: Files are missing or damaged, or the policy was trained on different features.
        """
        folder = Path(folder)
        content = read_folder(folder, KIND, Q_NETWORK)
        source = feature_source(folder, content, features)
        try:
            weights = read_tensors(folder / Q_NETWORK)
            hidden = weights["inner.bias"].shape[0]
            network = filled(lambda: QNetwork(source.dimension, hidden), weights, torch.float64)
            temperature = float(content["temperature"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"does not contain this policy's network: {reason}", path=folder / Q_NETWORK
            ) from error
        card = Card(**{f.name: content[f.name] for f in fields(Card)})
        return cls(network, source, temperature=temperature, name=str(content["name"]), card=card)
