"""Training of a loss over forests with `transformers.Trainer`: a step's rows are processed forest by
forest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.learn.steps import StepLoss
from pluralign.learn.texts.data import Batch, CompletionData, batches
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.quantized import is_quantized
from pluralign.lm.support import support_of
from pluralign.lm.tensors import to_list
from pluralign.rewards.heads import RewardHead


class BatchLoss(nn.Module):
    """Heads of a method and its loss of a batch.

    `forward` returns the batch's part of the step's loss; the parts of a step's batches add up.
    """

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """The loss (a scalar).

        Args:
            model: The language model, for its vocabulary head.
            hidden: Hidden states of the batch's forest.
            batch: The rows.
        """
        raise NotImplementedError


class ForestLoss(StepLoss):
    """Loss of rows, through trunk and objective, forest by forest.

    Args:
        trunk: Trunk; its trainable parameters are registered here.
        objective: Heads and loss.
        data: Rows.
        token_budget: Largest number of tokens per forest.
    """

    def __init__(
        self, trunk: TunedTrunk, objective: BatchLoss, data: CompletionData, token_budget: int
    ) -> None:
        super().__init__()
        self.trunk, self.objective = trunk, objective
        self._data, self._budget = data, token_budget
        self._device = torch.device("cpu")

    def parts(self, rows: Int[Tensor, " batch"]) -> list[Batch]:
        """The rows in forests; only one at a time is on the device."""
        # Sharded weights may be on the CPU while they are computed with on a GPU.
        self._device = rows.device if rows.is_cuda else next(self.trunk.model.parameters()).device
        return list(batches(self._data, to_list(rows), self._budget))

    def as_named(self) -> list[nn.Module]:
        """See `StepLoss`; what is registered has other names."""
        return [self.trunk.model, self.objective]

    def whole(self) -> dict[str, nn.Module]:
        """See `StepLoss`."""
        _check_one_pass(self.trunk.model)
        return {"model": self.trunk.model, "objective": self.objective}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The forest's part of the step's loss, as ``{"loss"}``."""
        batch = on_device(batch, self._device)
        return {"loss": self.objective(self.trunk.model, self.trunk(batch), batch)}


def _check_one_pass(model: PreTrainedModel) -> None:
    if is_quantized(model):
        raise InputError("4-bit trunks are not sharded: train with DDP or one process", field="load_in")
    support = None if model.config.is_encoder_decoder else support_of(model)
    if support is None or support.forest is not None or support.factors is not None:
        raise InputError(
            f"models of type {model.config.model_type!r} read a forest in several passes, whose number "
            "differs between processes; FSDP and DeepSpeed need equally many: train with DDP or one process"
        )


@torch.no_grad()
def map_rows(
    trunk: TunedTrunk, data: CompletionData, f: Callable[[Tensor, Batch], Tensor], *, token_budget: int,
    bf16: bool,
) -> Tensor:  # fmt: skip
    """Apply a function to the hidden states of every row, during training of the trunk.

    Args:
        trunk: Trunk with its current weights.
        data: Rows.
        f: Function from a batch's hidden states and the batch to values of its rows, shape (rows, ...).
        token_budget: Largest number of tokens per forward pass.
        bf16: Whether the trunk computes in mixed precision; ``f`` is called outside of it.

    Returns:
        Float32 on the CPU, shape (rows, ...).
    """
    device = next(trunk.model.parameters()).device
    found: list[Tensor] = []
    for batch in batches(data, range(len(data)), token_budget):
        batch = on_device(batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            hidden = trunk(batch)
        found.append(f(hidden, batch).float().cpu())
    return torch.cat(found)


def row_rewards(
    trunk: TunedTrunk, head: RewardHead, data: CompletionData, *, token_budget: int, bf16: bool
) -> Float[Tensor, "rows completions"]:
    """Mean reward of every completion of the data, during training of trunk and head."""

    def rewards(hidden: Tensor, batch: Batch) -> Tensor:
        return head.of_branches(head(hidden, batch.forest), batch.forest).mean[batch.branches]

    return map_rows(trunk, data, rewards, token_budget=token_budget, bf16=bf16)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch on a device; row numbers stay on the CPU."""
    return replace(
        batch,
        forest=batch.forest.to(device),
        branches=batch.branches.to(device),
        weights=batch.weights.to(device),
        margins=batch.margins.to(device),
    )
