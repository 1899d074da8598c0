"""Training of a loss over forests with `transformers.Trainer`: a step's rows are processed forest by
forest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.learn.steps import StepLoss
from pluralign.learn.texts.data import Batch, CompletionData, batches
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.backbone import fast_dtype
from pluralign.lm.support import support_of
from pluralign.lm.tensors import to_list
from pluralign.rewards.heads import RewardHead


@dataclass(frozen=True)
class Training:
    """Training options of trainers on texts.

    Args:
        epochs: Passes over the training rows (TRL's reward trainer: 1).
        batch_size: Rows per step, over all processes (TRL: 8).
        learning_rate: Peak learning rate of AdamW, decaying linearly to 0 (ours, for full fine-tuning; an
            adapter needs about 2e-4, heads alone 1e-3).
        weight_decay: Weight decay of AdamW (TRL: 0).
        warmup: Share of the steps in which the learning rate rises from 0 (ours).
        lora_rank: Rank of a LoRA adapter that is trained instead of the trunk's weights; 0 for none.
        layers: Number of uppermost layers to train; the layers below run once per text. 0 trains heads only,
            None trains everything.
        max_length: Largest number of tokens of prompt + completion; longer prompts are truncated from the
            left (TRL: 1024).
        token_budget: Largest number of tokens per forest. It bounds memory and does not change results.
            (SmolLM2-135M in float32 takes about 1.8 MB per token, and 2.2 GB for weights, gradients and
            AdamW.)
        bf16: Whether to use bfloat16 mixed precision; None uses it if the hardware supports it well.
        gradient_checkpointing: Whether to keep only the inputs of layers for the backward pass, which
            computes the rest again: less memory per token, about a third more time, the same results.

    Examples:
        >>> import pluralign as pl
        >>> pl.Training(epochs=2, batch_size=4).steps(100)
        50
    """

    epochs: float = 1.0
    batch_size: int = 8
    learning_rate: float = 2e-5
    weight_decay: float = 0.0
    warmup: float = 0.1
    lora_rank: int = 0
    layers: int | None = None
    max_length: int = 1024
    token_budget: int = 2048
    bf16: bool | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        lowest = {"batch_size": 1, "learning_rate": 0, "weight_decay": 0, "warmup": 0, "lora_rank": 0}
        require(self, {**lowest, "max_length": 4, "token_budget": 4, "epochs": 1e-6}, {"warmup": 1})
        if self.layers is not None and not (isinstance(self.layers, int) and self.layers >= 0):  # pyright: ignore
            raise InputError(f"must be a whole number, 0 or more, found {self.layers!r}", field="layers")
        if not isinstance(self.gradient_checkpointing, bool):  # pyright: ignore
            raise InputError(
                f"must be True or False, found {self.gradient_checkpointing!r}",
                field="gradient_checkpointing",
            )

    def steps(self, rows: int) -> int:
        """Number of optimizer steps for this number of rows."""
        return max(1, round(self.epochs * rows / self.batch_size))

    @property
    def mixed(self) -> bool:
        """Whether matrix products are in bfloat16."""
        return fast_dtype() == torch.bfloat16 if self.bf16 is None else self.bf16


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

    def whole(self) -> dict[str, nn.Module]:
        """See `StepLoss`."""
        _check_one_pass(self.trunk.model)
        return {"model": self.trunk.model, "objective": self.objective}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The forest's part of the step's loss, as ``{"loss"}``."""
        batch = on_device(batch, self._device)
        return {"loss": self.objective(self.trunk.model, self.trunk(batch), batch)}


def _check_one_pass(model: PreTrainedModel) -> None:
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
