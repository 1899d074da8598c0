"""Policies over listed options from vectors of Q-values: one value for each objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from pluralign.core import Decision, InputError, Policy, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.folders.card import HEAD, Card, read_folder, write_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.options.checkpoint import feature_source
from pluralign.options.features import FeatureSource
from pluralign.options.standardised import StandardisedHead

KIND = "option_values"


@dataclass(frozen=True)
class HeadShape:
    """Sizes of a `ValueHead`.

    Args:
        dimension: Width d of the features.
        objectives: Number K of objectives.
        hidden: Width of the hidden layer.
        heads: Number N of independent networks.
        conditioned: Whether the networks read the weights of the objectives.
    """

    dimension: int
    objectives: int
    hidden: int = 64
    heads: int = 1
    conditioned: bool = False

    def __post_init__(self) -> None:
        for name in ("dimension", "objectives", "hidden", "heads"):
            if int(getattr(self, name)) < 1:
                raise InputError(f"must be 1 or more, found {getattr(self, name)}", field=name)


class ValueHead(StandardisedHead):
    """N networks, each standardisation -> linear -> GELU -> linear: K values for each option.

    Different initial weights make the networks disagree about what none of them was trained on.

    Args:
        shape: Sizes.
        seed: Random seed of the initial weights.
    """

    def __init__(self, shape: HeadShape, seed: int = 0) -> None:
        super().__init__(shape.dimension)
        self.shape = shape
        heads, width = shape.heads, shape.hidden

        generator = torch.Generator().manual_seed(seed)

        def uniform(*size: int, fan: int) -> nn.Parameter:
            drawn = torch.rand(size, generator=generator, dtype=torch.float32, device="cpu")
            return nn.Parameter((2 * drawn - 1) / fan**0.5)

        self.inner = uniform(heads, shape.dimension, width, fan=shape.dimension)
        self.bias = uniform(heads, 1, width, fan=shape.dimension)
        self.outer = uniform(heads, width, shape.objectives, fan=width)
        self.level = nn.Parameter(torch.zeros(heads, 1, shape.objectives))
        if shape.conditioned:
            self.weighted = uniform(heads, shape.objectives, width, fan=shape.objectives)

    def forward(
        self, standardised: Float[Tensor, "rows d"], weights: Float[Tensor, "rows objectives"]
    ) -> Float[Tensor, "heads rows objectives"]:
        """Values of features that already passed through `standardise`.

        Args:
            standardised: Features of one option each.
            weights: Weights of the objectives; read only by networks that are conditioned on them.
        """
        return self.outputs(self.first_layer(standardised), weights)

    def first_layer(self, standardised: Float[Tensor, "rows d"]) -> Float[Tensor, "heads rows hidden"]:
        """The part of the hidden layer that does not depend on the weights, before its activation."""
        return torch.baddbmm(self.bias, standardised.expand(self.shape.heads, -1, -1), self.inner)

    def outputs(
        self, inner: Float[Tensor, "heads rows hidden"], weights: Float[Tensor, "rows objectives"]
    ) -> Float[Tensor, "heads rows objectives"]:
        """Values from the result of `first_layer`."""
        if self.shape.conditioned:
            inner = inner + weights @ self.weighted
        return torch.baddbmm(self.level, gelu(inner), self.outer)


@dataclass(frozen=True)
class ValueUnits:
    """What the values of a head mean.

    Args:
        objectives: Names of the objectives, in the order of the head's outputs.
        scales: Returns of each objective that count as 1 in the weighted sum, above 0.
        temperature: Temperature of the policy, in the unit of the weighted sum.
        pessimistic: Whether an option is judged by the head that gives it the lowest value, or by the mean.
    """

    objectives: tuple[str, ...]
    scales: tuple[float, ...]
    temperature: float = 0.01
    pessimistic: bool = True

    def __post_init__(self) -> None:
        if not self.objectives or len(self.objectives) != len(self.scales):
            raise InputError("expected a scale for each of one or more objectives", field="scales")
        if not all(scale > 0 for scale in self.scales):
            raise InputError(f"must be above 0, found {self.scales}", field="scales")
        if not self.temperature > 0:
            raise InputError(f"must be above 0, found {self.temperature}", field="temperature")


class ValuePolicy:
    """softmax over the options of w . Q / temperature, with a vector Q of values for each option.

    The values are the expected returns of each objective from a decision on, if this policy chooses all
    following options, too. The weighted sum counts each objective in its scale.

    Args:
        name: Name in reports.
        head: Trained head.
        source: Source of the features that it was trained on.
        units: Meaning of the values.
        weights: Weights w. For a head that is conditioned on weights, any; for another one those that it was
            trained for.

    Raises:
        InputError: The features have another width than the head expects, or a weight is that of an unknown
            objective.
    """

    def __init__(
        self, name: str, head: ValueHead, source: FeatureSource, units: ValueUnits, weights: SteeringWeights
    ) -> None:
        if head.dimension != source.dimension:
            raise InputError(
                f"policy {name!r} needs features of width {head.dimension}, found {source.dimension}"
            )
        weights.require_known(list(units.objectives))
        # In double precision, a decision's values do not depend on the rest of the batch.
        self._name, self.head, self.source = name, head.double().eval(), source
        self.units, self.weights = units, weights

    @property
    def name(self) -> str:
        """See `core.Policy.name`."""
        return self._name

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the objectives, in the order of the values."""
        return self.units.objectives

    @property
    def conditioned(self) -> bool:
        """Whether the values are those of a policy for any weights."""
        return self.head.shape.conditioned

    def with_weights(self, weights: SteeringWeights) -> ValuePolicy:
        """The same policy under other weights.

        Raises:
            InputError: The head is not conditioned on weights, or an objective is unknown.
        """
        if not self.conditioned:
            raise InputError(f"{self.name} was trained for fixed weights", field="weights")
        return ValuePolicy(self._name, self.head, self.source, self.units, weights)

    @torch.no_grad()
    def values(
        self, decisions: Sequence[Decision], weights: SteeringWeights | None = None
    ) -> list[FloatArray]:
        """Values of the options, one array of shape (options, objectives) per decision, in units of returns.

        A pessimistic policy gives the values by the network whose weighted sum is least, option by option.

        Args:
            decisions: Decisions.
            weights: Weights of that sum; by default the policy's own.
        """
        if not decisions:
            return []
        found = [entry.features for entry in self.source.get(decisions)]
        rows = torch.as_tensor(np.concatenate(found)).to(self.head.mean.device).double()
        own = self._row(self.weights).to(rows.device).expand(len(rows), -1)
        values = self.head(self.head.standardise(rows), own).cpu()
        if self.units.pessimistic:
            head = (values @ self._row(weights or self.weights)).argmin(dim=0)
            chosen = values[head, torch.arange(len(rows))]
        else:
            chosen = values.mean(dim=0)
        scaled: FloatArray = chosen.numpy() * np.array(self.units.scales)
        return np.split(scaled, np.cumsum([len(entry) for entry in found])[:-1])

    def log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """See `core.Policy.log_probs`."""
        return [
            greedy_log_probs(self.totals(values, self.weights), self.units.temperature)
            for values in self.values(decisions)
        ]

    def scale(self, objective: str) -> float:
        """Return of an objective that counts as 1 in the weighted sum."""
        return self.units.scales[self.objectives.index(objective)]

    def _row(self, weights: SteeringWeights) -> Float[Tensor, " objectives"]:
        return torch.tensor(weights.aligned_to(self.objectives), dtype=torch.float64)

    def totals(self, values: FloatArray, weights: SteeringWeights) -> FloatArray:
        """Weighted sums of values, in the policy's scales, shape (options,).

        Args:
            values: Values in units of returns, shape (options, objectives).
            weights: Weights of the objectives.
        """
        scaled: FloatArray = values / np.array(self.units.scales)
        return scaled @ weights.aligned_to(self.objectives)

    def save(self, folder: str | Path, card: Card) -> None:
        """Write the policy to a folder, completely or not at all (`write_folder`).

        Args:
            folder: Output folder.
            card: Card of the policy.

        Raises:
            InputError: The folder cannot be written.
        """
        content = {
            "name": self._name,
            "head": vars(self.head.shape),
            "units": vars(self.units),
            "weights": dict(self.weights),
        }
        write_folder(Path(folder), KIND, card, content, {HEAD: self.head.float().state_dict()})
        self.head.double()

    @classmethod
    def load(cls, folder: str | Path, source: FeatureSource | None = None) -> ValuePolicy:
        """Load a policy that `save` wrote.

        Args:
            folder: Folder of the policy.
            source: Features that the head reads; None loads the backbone named on the card.

        Raises:
            InputError: Files are missing or damaged, the folder holds another kind of model, or the features
                are from a different backbone.
        """
        folder = Path(folder)
        content = read_folder(folder, KIND, HEAD)
        found = feature_source(folder, content, source)
        try:
            shape = HeadShape(**content["head"])
            head = filled(lambda: ValueHead(shape), read_tensors(folder / HEAD))
            units = _units(content["units"])
            return cls(str(content["name"]), head, found, units, SteeringWeights(content["weights"]))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"does not contain this policy's networks: {reason}", path=folder / HEAD
            ) from error


def greedy_log_probs(totals: FloatArray, temperature: float) -> FloatArray:
    """Log-probabilities of options in proportion to exp(total / temperature)."""
    scaled: FloatArray = totals / temperature
    return scaled - np.logaddexp.reduce(scaled)


def for_objective(policy: Policy, objective: str) -> Policy:
    """The policy of one objective alone: a policy for any weights gets all weight on it; others are as they
    are."""
    if isinstance(policy, ValuePolicy) and policy.conditioned and objective in policy.objectives:
        return policy.with_weights(SteeringWeights({objective: 1.0}))
    return policy


def _units(row: Mapping[str, Any]) -> ValueUnits:
    units = ValueUnits(**row)
    return replace(units, objectives=tuple(units.objectives), scales=tuple(units.scales))
