"""The loss of offline Q-learning: squared errors of values to targets by target networks."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pluralign.core import Decision
from pluralign.learn.options.q_table import ValueTable
from pluralign.learn.options.settings import QConfig
from pluralign.learn.shares import own_rows, rows_of_all
from pluralign.losses.offline_q import (
    best_value,
    conservative_penalty,
    expectile_value,
    least_values,
    taken_value,
)
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import pad_features
from pluralign.options.values import ValueHead

_EVERY = 10
"""Number of optimizer steps between two updates of the target networks."""


@dataclass(frozen=True, eq=False)
class Following:
    """What a batch of targets continues from.

    Args:
        values: Values of the options, in scales.
        weights: Weights of the objectives.
        allowed: Options that a target may choose.
        shares: Shares of the options in the data.
        taken: Option that followed in the episode.
        reference: The reference policy's greedy option.
    """

    values: Float[Tensor, "rows options objectives"]
    weights: Float[Tensor, "rows objectives"]
    allowed: Bool[Tensor, "rows options"]
    shares: Float[Tensor, "rows options"]
    taken: Int[Tensor, " rows"]
    reference: Int[Tensor, " rows"]


BACKUPS: dict[str, Callable[[Following, float], Float[Tensor, "rows objectives"]]] = {
    "max": lambda after, tau: best_value(after.values, after.weights, after.allowed),
    "expectile": lambda after, tau: expectile_value(after.values, after.weights, after.shares, tau),
    "taken": lambda after, tau: taken_value(after.values, after.taken),
    "reference": lambda after, tau: taken_value(after.values, after.reference),
}
"""Value of a decision by each backup, from what follows and the level tau."""


class ValueLearning(nn.Module):
    """Squared error of the values of the options taken, by every network.

    Args:
        head: Networks to train; their standardisation is fitted here.
        decisions: Distinct decisions of the data.
        source: Features of the decisions.
        table: Recorded steps.
        config: Settings.
        weights: Weights of the objectives; None draws weights for every row, for networks that read them.
        reference: Greedy option of the reference policy for every decision.
        seed: Random seed of the weights that are drawn.
    """

    def __init__(
        self, head: ValueHead, decisions: Sequence[Decision], source: FeatureSource, table: ValueTable,
        config: QConfig, *, weights: Float[Tensor, " objectives"] | None,
        reference: Int[Tensor, " decisions"] | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        features, mask = pad_features(source.get(decisions))
        head.fit_standardisation(features[mask])
        # Not named "config": a trainer would take it for a language model's configuration.
        self.head, self.settings, self._seed = head, config, seed
        self._weights: Tensor | None = weights
        # Checkpoints contain the target networks, so that a continued run ends with the same weights.
        self.target = copy.deepcopy(head).requires_grad_(False)
        self._inner: Tensor | None = None
        self.passes: Tensor
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))
        self.features: Tensor
        self.mask: Tensor
        self.reference: Tensor
        self.states: Tensor
        self.actions: Tensor
        self.sums: Tensor
        self.factors: Tensor
        self.next_states: Tensor
        self.next_actions: Tensor
        self.shares: Tensor
        none = torch.zeros(len(decisions), dtype=torch.int64)
        data = {"features": head.standardise(features), "mask": mask}
        data["reference"] = none if reference is None else reference
        data |= {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
        for name, value in data.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Loss on these rows of the table: mean over rows and objectives, sum over networks."""
        self._follow()
        weights = self._drawn(len(rows))
        targets = self._targets(rows, weights)
        states, actions = self.states[rows], self.actions[rows]
        values = self.head(self.features[states, actions], weights)
        loss = (values - targets).square().mean(dim=(1, 2)).sum()
        if self.settings.conservative:
            loss = loss + self.settings.conservative * self._penalty(states, actions, weights)
        return {"loss": loss}

    @torch.no_grad()
    def _targets(
        self, rows: Int[Tensor, " batch"], weights: Float[Tensor, "batch objectives"]
    ) -> Float[Tensor, "batch objectives"]:
        """Rewards and the value that follows them, in scales."""
        states, config = self.next_states[rows], self.settings
        values = self._of_options(self.target, self._known()[:, states].flatten(1, 2), weights)
        held = self.mask[states]
        values = values.mean(dim=0) if config.unseen == "free" else least_values(values, weights)
        allowed = held & (self.shares[states] > 0) if config.unseen == "never" else held
        # Nothing follows an ending; its row only needs to be valid.
        allowed = allowed | (~allowed.any(dim=1, keepdim=True) & held)
        after = Following(
            values, weights, allowed, self.shares[states], self.next_actions[rows], self.reference[states]
        )
        follow = BACKUPS[config.backup](after, config.tau)
        return self.sums[rows] + self.factors[rows, None] * follow

    def _penalty(
        self, states: Int[Tensor, " batch"], actions: Int[Tensor, " batch"],
        weights: Float[Tensor, "batch objectives"],
    ) -> Float[Tensor, ""]:  # fmt: skip
        inner = self.head.first_layer(self.features[states].flatten(0, 1))
        values = self._of_options(self.head, inner, weights)
        each = [conservative_penalty(one, weights, self.mask[states], actions).mean() for one in values]
        return torch.stack(each).sum()

    def _of_options(
        self, head: ValueHead, inner: Float[Tensor, "heads rows hidden"],
        weights: Float[Tensor, "batch objectives"],
    ) -> Float[Tensor, "heads batch options objectives"]:  # fmt: skip
        options = self.features.shape[1]
        flat = head.outputs(inner, weights.repeat_interleave(options, dim=0))
        return flat.view(len(flat), len(weights), options, -1)

    def _drawn(self, count: int) -> Float[Tensor, "batch objectives"]:
        """Weights of every row: fixed, or uniform on the simplex, one in five with all weight on one."""
        if self._weights is not None:
            return self._weights.to(self.features.device).expand(count, -1)
        objectives, count = self.sums.shape[1], rows_of_all(count)
        # From the number of the pass alone, so that a continued run draws the same, and several processes
        # what one draws.
        random = torch.Generator().manual_seed(self._seed * 1_000_003 + int(self.passes))
        drawn = -torch.rand(count, objectives, generator=random).clamp_min(1e-12).log()
        drawn = drawn / drawn.sum(dim=1, keepdim=True)
        corner = torch.randint(objectives, (count,), generator=random)
        alone = torch.rand(count, generator=random) < 0.2
        corners = nn.functional.one_hot(corner, objectives).to(drawn.dtype)
        return own_rows(torch.where(alone[:, None], corners, drawn)).to(self.features.device)

    def _known(self) -> Float[Tensor, "heads decisions options hidden"]:
        """First layer of the target networks, for all options; it changes only when they move."""
        known: Tensor | None = self._inner
        if known is None:
            flat: Tensor = self.target.first_layer(self.features.flatten(0, 1))
            self._inner = known = flat.view(len(flat), *self.features.shape[:2], -1)
        return known

    @torch.no_grad()
    def _follow(self) -> None:
        if int(self.passes) % _EVERY == 0:
            share = 1 - (1 - self.settings.follow) ** _EVERY
            for own, other in zip(self.target.parameters(), self.head.parameters(), strict=True):
                own.lerp_(other, share)
            self._inner = None
        self.passes += 1
