"""Training under FSDP2, as accelerate's configuration sets it up.

FSDP rebuilds a module's weights: a process holds shards of them, and a layer's are gathered while it runs. It
needs a module in which all weights are registered, and leaves it changed; `plain_afterwards` puts the whole
weights back into the module as it was.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from pluralign.core import InputError
from pluralign.learn.steps import StepLoss

_SHARDED = "SHARDED_STATE_DICT"


def uses_fsdp(*, accelerators: bool) -> bool:
    """Whether FSDP shards the weights, by the environment that ``accelerate launch`` sets.

    Args:
        accelerators: Whether the processes have GPUs; accelerate does not shard on CPUs.

    Raises:
        InputError: The configuration has settings that do not work here, or DeepSpeed.
    """
    if _flag("ACCELERATE_USE_DEEPSPEED"):
        raise InputError(
            "training does not run under DeepSpeed, whose gradients were zero in trials; use FSDP2 "
            "(examples/accelerate/fsdp2.yaml)",
            field="distributed_type",
        )
    if not _flag("ACCELERATE_USE_FSDP"):
        return False
    _check_fsdp()
    if not accelerators:
        raise InputError("accelerate runs FSDP on GPUs only; on CPUs start the processes with torchrun")
    if (precision := os.environ.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        raise InputError(
            f"must be 'no' under FSDP, found {precision!r}: --training.bf16 computes in bfloat16 and keeps "
            "the weights in float32",
            field="mixed_precision",
        )
    if os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1") != "1":
        raise InputError(
            "must be 1: gradients of a step are accumulated forest by forest within --training.token-budget",
            field="gradient_accumulation_steps",
        )
    return True


def _check_fsdp() -> None:
    if (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise InputError(f"must be 2, found {version}", field="fsdp_version")
    if os.environ.get("FSDP_STATE_DICT_TYPE", _SHARDED) != _SHARDED:
        raise InputError(
            f"must be {_SHARDED}: it is the form of checkpoints; the result's folder has whole weights",
            field="fsdp_state_dict_type",
        )
    if _flag("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        raise InputError(
            "must be false: every process reads the model before it is sharded",
            field="fsdp_cpu_ram_efficient_loading",
        )
    if _flag("FSDP_ACTIVATION_CHECKPOINTING"):
        raise InputError(
            "must be false; use --training.gradient-checkpointing", field="fsdp_activation_checkpointing"
        )


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")


def check_checkpoint(checkpoint: Path, fsdp: bool) -> None:
    """Check that a training checkpoint was written with FSDP if it is read with it, and without if not.

    Raises:
        InputError: It was not.
    """
    wrote = any(checkpoint.glob("pytorch_model_fsdp*"))
    if wrote != fsdp:
        names = ("without FSDP", "with FSDP")
        raise InputError(
            f"was written {names[wrote]}, and training runs {names[fsdp]}; continue with the same "
            "accelerate configuration, or choose another folder",
            path=checkpoint,
        )


class ShardedLoss(nn.Module):
    """A loss with all of its weights registered, in the same eval mode.

    Args:
        loss: Loss whose modules may hold weights that are not registered.
        bf16: Whether to compute in bfloat16 mixed precision; the weights stay as they are.

    Raises:
        InputError: See `StepLoss.whole`.
    """

    def __init__(self, loss: StepLoss, bf16: bool) -> None:
        super().__init__()
        self.whole = nn.ModuleDict(loss.whole())
        self._loss, self._bf16 = (loss,), bf16
        # Accelerate shards these layer by layer.
        known = {type(module).__name__ for module in self.whole.modules()}
        names = {
            name
            for module in self.whole.values()
            for name in getattr(module, "_no_split_modules", None) or ()
        }
        self._no_split_modules = sorted(names & known)

    def train(self, mode: bool = True) -> ShardedLoss:
        """Set the mode of the loss; modules that it does not register keep theirs."""
        self.training = mode
        self._loss[0].train(mode)
        return self

    def forward(self, part: Any) -> dict[str, Tensor]:
        """See `StepLoss`."""
        device = next(self.whole.parameters()).device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._bf16):
            return self._loss[0](part)


@contextmanager
def plain_afterwards(module: nn.Module) -> Generator[None]:
    """Inside, a module may be sharded; afterwards it is as before, with its new weights, in each process."""
    modules = [(part, type(part), _copied(vars(part))) for part in module.modules()]
    originals = {name: (value, dict(vars(value))) for name, value in module.named_parameters()}
    yield
    whole = dict(_gathered(module))
    for part, kind, values in modules:
        part.__class__ = kind
        vars(part).clear()
        vars(part).update(values)
    for name, (value, values) in originals.items():
        vars(value).clear()
        vars(value).update(values)
        value.grad = None
        value.data = whole.pop(name)


def free_replaced(module: nn.Module, originals: Mapping[str, nn.Parameter]) -> None:
    """Free the memory of parameters that sharding replaced by others."""
    kept = {id(value) for value in module.parameters()}
    for value in originals.values():
        if id(value) not in kept:
            value.data = value.data.new_empty(0)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a module, with copies of the tables of parameters, submodules and hooks."""
    return {name: value.copy() if isinstance(value, dict) else value for name, value in values.items()}


@torch.no_grad()
def _gathered(module: nn.Module) -> Generator[tuple[str, Tensor]]:
    """Every parameter whole, one at a time."""
    for name, value in module.named_parameters():
        if isinstance(value, DTensor):
            yield name, value.full_tensor().detach()
        else:
            yield name, value.data
