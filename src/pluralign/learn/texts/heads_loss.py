"""The loss of heads of several objectives on one model, each on its own objective's pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.learn.texts.data import Batch
from pluralign.learn.texts.own_losses import over_labels
from pluralign.learn.texts.policies import PolicyLoss
from pluralign.learn.texts.training import BatchLoss
from pluralign.lm.head_change import HeadChange
from pluralign.lm.tensors import to_list
from pluralign.lm.vocabulary import changed_log_probs


class HeadsLoss(BatchLoss):
    """Weighted losses of pairs of several objectives, each through its own head.

    Args:
        changes: Change of the vocabulary head of each objective.
        owners: Number of each row's objective.
        loss: Loss of each pair; see `PolicyLoss`.
        reference: Log pi_ref of every row's completions, nats.
        weights: Weight of each row's loss.
    """

    def __init__(
        self, changes: Sequence[HeadChange], owners: Int[Tensor, " rows"], loss: PolicyLoss,
        reference: Float[Tensor, "rows 2"], weights: Float[Tensor, " rows"],
    ) -> None:  # fmt: skip
        super().__init__()
        self.changes, self._loss = nn.ModuleList(changes), loss
        self.owners: Tensor
        self.reference: Tensor
        self.weights: Tensor
        self.register_buffer("owners", owners, persistent=False)
        self.register_buffer("reference", reference, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        rows = batch.rows.to(self.owners.device)
        chosen, rejected = self.log_probs(model, hidden, batch).unbind(dim=1)
        known, weights = self.reference[rows].unbind(dim=1), self.weights[rows]
        return over_labels(
            lambda: weights * self._loss(chosen, rejected, *known),
            lambda: weights * self._loss(rejected, chosen, *known[::-1]),
            batch,
        )

    def without_rows(self) -> list[int]:
        """Numbers of the objectives that no row has."""
        counts = self.owners.bincount(minlength=len(self.changes))
        return [number for number, count in enumerate(to_list(counts)) if not count]

    def unweighted(self) -> HeadsLoss:
        """The same loss with weights of 1."""
        ones = torch.ones_like(self.weights)
        changes: Any = list(self.changes)
        return HeadsLoss(changes, self.owners, self._loss, self.reference, ones)

    def log_probs(
        self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch
    ) -> Float[Tensor, "rows completions"]:
        """Log-probability of each completion through the head of its row's objective, nats."""
        owners = self.owners[batch.rows.to(self.owners.device)]
        of_branches = owners.new_zeros(len(batch.forest.ends))
        of_branches[batch.branches.flatten()] = owners.repeat_interleave(batch.branches.shape[1])
        changes: Any = list(self.changes)
        return changed_log_probs(model, hidden, batch.forest, changes, of_branches)[batch.branches]
