"""Options of trainers on texts. Command lines name them as well, so this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from pluralign.core import InputError
from pluralign.core.checks import require
from pluralign.learn.phase import ScheduleName, Tracker
from pluralign.lm.dtypes import LoadIn

TrunkDType = Literal["auto", "float32", "bfloat16"]
"""Names of the floating-point types of a trunk in training. (Small gradients vanish in float16.)"""


@dataclass(frozen=True)
class Training:
    """Training options of trainers on texts.

    Args:
        epochs: Passes over the training rows (TRL's reward trainer: 1).
        batch_size: Rows per step, over all processes (TRL: 8).
        learning_rate: Peak learning rate of AdamW (ours, for full fine-tuning; an adapter needs about 2e-4,
            heads alone 1e-3).
        weight_decay: Weight decay of AdamW (TRL: 0).
        warmup: Share of the steps in which the learning rate rises from 0 (ours).
        lora_rank: Rank of a LoRA adapter that is trained instead of the trunk's weights; 0 for none. Adapters
            are in float32 and have no dropout.
        layers: Number of uppermost layers to train; the layers below run once per text. 0 trains heads only,
            None trains everything.
        max_length: Largest number of tokens of prompt + completion; longer prompts are truncated from the
            left (TRL: 1024).
        token_budget: Largest number of tokens per forest. It bounds memory and does not change results.
            (SmolLM2-135M in float32 takes about 1.8 MB per token, and 2.2 GB for weights, gradients and
            AdamW.)
        bf16: Whether to use bfloat16 mixed precision; None uses it if the hardware supports it well, or if
            the trunk is in bfloat16.
        gradient_checkpointing: Whether to keep only the inputs of layers for the backward pass, which
            computes the rest again: less memory per token, about a third more time, the same results.
        lora_alpha: Numerator of the adapter's factor alpha / rank; by default the rank.
        target_modules: Names of the layers with an adapter, or ends of their names (q_proj); by default all
            linear layers below the head.
        dtype: Floating-point type of the trunk's weights where they are frozen (an adapter or heads alone are
            trained); trained weights are in float32. auto is bfloat16 for an adapter on a GPU that supports
            it, else float32.
        load_in: Format of a frozen trunk's quantised weights: 4bit (NF4 with double quantisation, by the
            package bitsandbytes); by default they are not quantised.
        lr_scheduler_type: Schedule of the learning rate after the warmup. constant has no warmup.
        max_grad_norm: Largest norm of a step's gradient, to which longer ones are clipped; 0 for no limit
            (TRL: 1).
        report_to: Trackers of losses and learning rates, by the callbacks of transformers: tensorboard,
            wandb, trackio.

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
    lora_alpha: float | None = None
    target_modules: tuple[str, ...] = ()
    dtype: TrunkDType = "auto"
    load_in: LoadIn | None = None
    lr_scheduler_type: ScheduleName = "linear"
    max_grad_norm: float = 1.0
    report_to: tuple[Tracker, ...] = ()

    def __post_init__(self) -> None:
        lowest = {"batch_size": 1, "learning_rate": 0, "weight_decay": 0, "warmup": 0, "lora_rank": 0}
        lowest["max_grad_norm"] = 0
        require(self, {**lowest, "max_length": 4, "token_budget": 4, "epochs": 1e-6}, {"warmup": 1})
        if self.layers is not None and not (isinstance(self.layers, int) and self.layers >= 0):
            raise InputError(f"must be a whole number, 0 or more, found {self.layers!r}", field="layers")
        self._check_names()
        self._check_trunk()

    def steps(self, rows: int) -> int:
        """Number of optimizer steps for this number of rows."""
        return max(1, round(self.epochs * rows / self.batch_size))

    def _check_names(self) -> None:
        for name in ("target_modules", "report_to"):
            given: Any = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(each, str) for each in given):
                raise InputError(f"expected a tuple of names, found {given!r:.60}", field=name)
            object.__setattr__(self, name, tuple(given))
        if unknown := sorted(set(self.report_to) - set(get_args(Tracker))):
            listed = ", ".join(get_args(Tracker))
            raise InputError(f"must be among {listed}, found {unknown[0]!r}", field="report_to")
        if self.lora_alpha is not None:
            require(self, {"lora_alpha": 0})

    def _check_trunk(self) -> None:
        """Refuse what only a frozen trunk, or only an adapter, has."""
        frozen = self.lora_rank > 0 or self.layers == 0
        for name in ("load_in", "dtype"):
            value = getattr(self, name)
            if value not in (None, "auto", "float32") and not frozen:
                raise InputError(
                    f"weights that are trained are in float32; {value} needs an adapter (lora_rank) or heads "
                    "alone (layers 0)",
                    field=name,
                )
        for name in ("lora_alpha", "target_modules"):
            if getattr(self, name) and not self.lora_rank:
                raise InputError("needs an adapter; give lora_rank", field=name)
