"""Losses as modules that `transformers.Trainer` can train: row numbers in, ``{"loss"}`` out."""

from __future__ import annotations

from dataclasses import fields

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pluralign.learn.options.scorers import AnyScorer
from pluralign.learn.options.settings import Contrast
from pluralign.learn.options.tables import PairTable, TrajectoryTable
from pluralign.learn.shares import mean_of_processes
from pluralign.losses.contrastive import cpl_loss, labelled_accuracy
from pluralign.losses.likelihood import weighted_mean_nll


def hold_table(module: nn.Module, table: TrajectoryTable | PairTable) -> None:
    """Register a table's tensors as buffers: training checkpoints contain what is trained, not the data."""
    for column in fields(table):
        module.register_buffer(column.name, getattr(table, column.name), persistent=False)


class BehaviourCloning(nn.Module):
    """Negative log-likelihood of the steps of a table.

    Args:
        scorer: Module to train.
        table: Demonstrated steps.
        weights: Weight of each step, not negative; all 1 by default.
    """

    def __init__(
        self, scorer: AnyScorer, table: TrajectoryTable, weights: Float[Tensor, " steps"] | None = None
    ) -> None:
        super().__init__()
        self.scorer = scorer
        self.weights: Tensor | None
        self.register_buffer("weights", weights, persistent=False)
        self.states: Tensor
        self.actions: Tensor
        hold_table(self, table)

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Loss on these rows of the table, nats per step."""
        taken = self.scorer.taken(self.states[rows], self.actions[rows])
        weights = torch.ones_like(taken) if self.weights is None else self.weights[rows]
        return {"loss": weighted_mean_nll(taken, weights, mean_of_processes(weights.sum()))}


class ContrastivePreference(nn.Module):
    """Contrastive preference learning on the pairs of a table.

    Args:
        scorer: Module to train.
        table: Preference pairs.
        contrast: Parameters of the loss.
        reference: Log-probabilities log pi_ref of every option of every decision (CPL-KL); None for no
            reference.
    """

    def __init__(
        self,
        scorer: AnyScorer,
        table: PairTable,
        contrast: Contrast,
        reference: Float[Tensor, "decisions options"] | None = None,
    ) -> None:
        super().__init__()
        self.scorer, self.contrast = scorer, contrast
        self.states: Tensor
        self.actions: Tensor
        self.mask: Tensor
        self.weights: Tensor
        self.reference: Tensor | None
        hold_table(self, table)
        anchored = None if reference is None else reference[table.states, table.actions]
        self.register_buffer("reference", anchored, persistent=False)

    def forward(self, rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """Loss on these pairs; with ``bc_weight``, plus the likelihood loss of both segments (CPL-BC)."""
        mask, contrast = self.mask[rows], self.contrast
        taken = self.scorer.taken(self.states[rows], self.actions[rows])
        reference = None if self.reference is None else self.reference[rows]
        loss = cpl_loss(
            taken[:, 0],
            taken[:, 1],
            mask[:, 0],
            mask[:, 1],
            label_weights=self.weights[rows],
            chosen_reference_log_probs=None if reference is None else reference[:, 0],
            rejected_reference_log_probs=None if reference is None else reference[:, 1],
            alpha=contrast.alpha,
            conservative_bias=contrast.conservative_bias,
            gamma=contrast.gamma,
        )
        if contrast.bc_weight:
            kept = mask.to(taken.dtype)
            nll = weighted_mean_nll(taken, kept, mean_of_processes(kept.sum()))
            loss = loss + contrast.bc_weight * nll
        return {"loss": loss}


@torch.no_grad()
def pair_accuracy(
    log_probs: Float[Tensor, "decisions options"], table: PairTable, gamma: float
) -> float | None:
    """Share of labelled pairs whose chosen segment has the greater discounted log-probability; see
    `labelled_accuracy`."""
    taken = log_probs[table.states, table.actions]
    discounts = gamma ** torch.arange(taken.shape[-1], dtype=taken.dtype)
    sums = (torch.where(table.mask, taken, 0.0) * discounts).sum(-1)
    return labelled_accuracy(sums[:, 0] - sums[:, 1], table.weights)
