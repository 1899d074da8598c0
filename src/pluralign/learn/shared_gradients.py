"""Training of parameters that several objectives share: each step weighs the objectives' gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.learn.engine import processes
from pluralign.learn.phase import GradientsName, require_gradients
from pluralign.learn.steps import StepLoss
from pluralign.lm.tensors import distinct_values, to_list
from pluralign.losses.pareto import guided_weights, min_norm_weights

GRADIENTS: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "sum": lambda gradients, target: np.full(len(gradients), 1 / len(gradients)),
    "min_norm": lambda gradients, target: min_norm_weights(gradients),
    "guided": guided_weights,
}
"""Weights of the objectives' gradients, from these and the gradient of held-out rows."""


@dataclass(frozen=True, eq=False)
class ObjectiveRows:
    """Rows of several objectives, and their loss.

    Args:
        loss: Loss of rows of one objective: the mean over these rows.
        owners: Number of each row's objective.
    """

    loss: StepLoss
    owners: Int[Tensor, " rows"]

    def parts(self, rows: Int[Tensor, " batch"]) -> list[tuple[int, Any]]:
        """The loss's parts of these rows, each with the number of its objective."""
        owners = self.owners[rows.cpu()]
        return [
            (owner, part)
            for owner in to_list(distinct_values(owners)[0])
            for part in self.loss.parts(rows[(owners == owner).to(rows.device)])
        ]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows that guide the weights and are not learned from.

    Args:
        rows: The rows.
        batch_size: Number of rows that are drawn for each step.
        seed: Random seed of the draws.
    """

    rows: ObjectiveRows
    batch_size: int
    seed: int

    def drawn(self, step: int) -> Int[Tensor, " batch"]:
        """Rows of a step; from its number alone, so that a continued run draws the same."""
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        return torch.randperm(len(self.rows.owners), generator=random)[: self.batch_size]


@dataclass(frozen=True, eq=False)
class _Part:
    owner: int
    content: Any
    objectives: int
    held_out: bool = False
    last: bool = False


class SharedGradients(StepLoss):
    """Mean over objectives of their losses, whose gradients on shared parameters are weighed in each step.

    Shared parameters step along sum_i alpha_i g_i, with the gradient g_i of objective i's mean loss over its
    rows of the step, and weights alpha that sum to one over the objectives that the step has. All other
    parameters have the gradient of the mean, whatever the weights.

    Args:
        rows: Rows to learn from.
        objectives: Names of the objectives.
        shared: Parameters that the objectives share.
        gradients: Name of the way to weigh (`GRADIENTS`).
        held_out: Rows of the gradient to follow; for guided weights.

    Raises:
        InputError: Nothing is shared, guided weights have no rows to follow, or several processes train.
    """

    def __init__(
        self, rows: ObjectiveRows, objectives: Sequence[str], shared: Sequence[nn.Parameter],
        gradients: GradientsName, held_out: HeldOut | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        require_gradients(gradients)
        if not shared:
            raise InputError("the objectives share no parameter that is trained", field="gradients")
        if (gradients == "guided") != (held_out is not None):
            raise InputError("guided weights, and no others, follow held-out rows", field="gradients")
        if processes().num_processes > 1:
            raise InputError("several processes do not train shared parameters", field="gradients")
        self.loss, self._rows, self._names = rows.loss, rows, tuple(objectives)
        self._shared, self._weigh = list(shared), GRADIENTS[gradients]
        # Not registered: its parameters are those of the loss.
        self._held_out = (held_out,)
        self._found: dict[int, Float[Tensor, " parameters"]] = {}
        # Checkpoints contain the counts, so that a continued run reports the same.
        self.steps: Tensor
        self.weights: Tensor
        self.compared: Tensor
        self.conflicts: Tensor
        self.register_buffer("steps", torch.zeros(len(self._names) + 1, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(len(self._names)))
        self.register_buffer("compared", torch.zeros((), dtype=torch.int64))
        self.register_buffer("conflicts", torch.zeros((), dtype=torch.int64))

    def parts(self, rows: Int[Tensor, " batch"]) -> list[_Part]:
        """See `StepLoss`; held-out rows come first, since their gradients on heads are removed again."""
        self._found = {}
        (held_out,) = self._held_out
        before: list[tuple[int, Any]] = []
        if held_out is not None:
            before = held_out.rows.parts(held_out.drawn(int(self.steps[-1])).to(rows.device))
        own = self._rows.parts(rows)
        counts = [len({owner for owner, _ in each}) for each in (before, own)]
        return [
            *[_Part(owner, part, counts[0], held_out=True) for owner, part in before],
            *[_Part(owner, part, counts[1], last=n == len(own)) for n, (owner, part) in enumerate(own, 1)],
        ]

    def as_named(self) -> Sequence[nn.Module]:
        """See `StepLoss`."""
        return self.loss.as_named()

    def forward(self, part: _Part) -> dict[str, Tensor]:
        """The part's share of the loss; a held-out part has a gradient and no value."""
        (held_out,) = self._held_out
        if held_out is None or not part.held_out:
            return {"loss": self.loss(part.content)["loss"] / part.objectives}
        loss: Tensor = held_out.rows.loss(part.content)["loss"] / part.objectives
        return {"loss": loss - loss.detach()}

    def differentiated(self, part: _Part) -> None:
        """See `StepLoss`; after the last part the shared parameters have their weighed gradient."""
        found = torch.cat(
            [
                torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten()
                for one in self._shared
            ]
        )
        owner = len(self._names) if part.held_out else part.owner
        self._found[owner] = self._found[owner] + found if owner in self._found else found
        for parameter in self.parameters() if part.held_out else self._shared:
            parameter.grad = None
        if part.last:
            self._write()

    @torch.no_grad()
    def _write(self) -> None:
        target = self._found.pop(len(self._names), None)
        owners = sorted(self._found)
        rows = torch.stack([self._found[owner] for owner in owners])
        gradients = _short(rows if target is None else torch.cat([rows, target[None]]))
        alpha = self._weigh(gradients[: len(owners)], gradients[-1])
        self._count(owners, alpha, gradients)
        # The parts' losses were divided by the number of objectives.
        factors = torch.tensor(alpha * len(owners), dtype=rows.dtype, device=rows.device)
        step = (factors[:, None] * rows).sum(dim=0)
        pieces = step.split_with_sizes([one.numel() for one in self._shared])
        for parameter, piece in zip(self._shared, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
        self._found = {}

    def _count(self, owners: Sequence[int], alpha: FloatArray, gradients: FloatArray) -> None:
        self.steps[-1] += 1
        for owner, weight in zip(owners, to_list(torch.tensor(alpha)), strict=True):
            self.steps[owner] += 1
            self.weights[owner] += (weight - self.weights[owner]) / self.steps[owner]
        for one, other in combinations(gradients[: len(owners)], 2):
            self.compared += 1
            self.conflicts += int(one @ other < 0)

    def figures(self) -> Mapping[str, float]:
        """Mean weight of each objective over the steps that had it, and the share of pairs of gradients of a
        step whose cosine was below 0."""
        named = zip(self._names, to_list(self.weights), strict=True)
        found = {f"gradient_weight_{name}": round(weight, 4) for name, weight in named}
        if int(self.compared):
            found["gradient_conflicts"] = round(int(self.conflicts) / int(self.compared), 4)
        return found


def _short(rows: Float[Tensor, "losses parameters"]) -> FloatArray:
    """Gradients of as few numbers as there are losses, with the same lengths and angles: R of G^T = QR.

    Raises:
        InputError: A number is not finite.
    """
    if not bool(torch.isfinite(rows).all()):
        raise InputError("training diverged: a gradient is not finite; lower the learning rate")
    # Apple's GPUs have no double precision.
    rows = rows.cpu() if rows.device.type == "mps" else rows
    linalg: Any = torch.linalg
    return linalg.qr(rows.double().T, mode="r").R.T.cpu().numpy()
