"""Training under FSDP2 and DeepSpeed, as accelerate's configuration sets them up.

Both rebuild a module's weights: a process holds shards of them, and a layer's are gathered while it runs.
They need a module in which all weights are registered, and leave it changed; `plain_afterwards` puts the
whole weights back into the module as it was.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from pluralign.core import InputError
from pluralign.learn.steps import StepLoss

Engine = Literal["FSDP", "DeepSpeed"]

_SHARDED = "SHARDED_STATE_DICT"


def sharding_engine(*, accelerators: bool) -> Engine | None:
    """What shards the weights, by the environment that ``accelerate launch`` sets; None if nothing does.

    Args:
        accelerators: Whether the processes have GPUs; accelerate does not shard on CPUs.

    Raises:
        InputError: The configuration has settings that do not work here.
    """
    engine: Engine
    if _flag("ACCELERATE_USE_FSDP"):
        engine = "FSDP"
        _check_fsdp()
    elif _flag("ACCELERATE_USE_DEEPSPEED"):
        engine = "DeepSpeed"
        _check_deepspeed()
    else:
        return None
    if not accelerators:
        raise InputError(f"accelerate runs {engine} on GPUs only; on CPUs start the processes with torchrun")
    if (precision := os.environ.get("ACCELERATE_MIXED_PRECISION", "no")) != "no":
        raise InputError(
            f"must be 'no' under {engine}, found {precision!r}: --training.bf16 computes in bfloat16 and "
            "keeps the weights in float32",
            field="mixed_precision",
        )
    if os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1") != "1":
        raise InputError(
            "must be 1: gradients of a step are accumulated forest by forest within --training.token-budget",
            field="gradient_accumulation_steps",
        )
    return engine


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
            "must be false; use --training.gradient-checkpointing True", field="fsdp_activation_checkpointing"
        )


def _check_deepspeed() -> None:
    if os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE"):
        raise InputError(
            "a file of DeepSpeed's own is not read; set the stage in accelerate's configuration",
            field="deepspeed_config_file",
        )
    if _flag("ACCELERATE_DEEPSPEED_ZERO3_INIT"):
        raise InputError(
            "must be false: every process reads the model before it is sharded", field="zero3_init_flag"
        )
    if (clipping := os.environ.get("ACCELERATE_GRADIENT_CLIPPING", "auto")) != "auto":
        raise InputError(
            f"must be 'auto', found {clipping!r}; use --training.max-grad-norm", field="gradient_clipping"
        )


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")


def check_checkpoint(checkpoint: Path, engine: Engine | None) -> None:
    """Check that a training checkpoint was written by the engine that is about to read it.

    Raises:
        InputError: It was not.
    """
    wrote: Engine | None = None
    if any(checkpoint.glob("pytorch_model_fsdp*")):
        wrote = "FSDP"
    elif any(checkpoint.glob("global_step*")):
        wrote = "DeepSpeed"
    if wrote != engine:
        raise InputError(
            f"was written with {wrote or 'no sharding'}, and training runs with {engine or 'no sharding'}; "
            "continue with the same accelerate configuration, or choose another folder",
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
    unset_hf_deepspeed_config()  # ZeRO-3 would shard all models that are loaded from now on
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
        elif hasattr(value, "ds_id"):  # ZeRO-3's shard
            zero: Any = import_module("deepspeed").zero
            with zero.GatheredParameters([value]):
                yield name, value.data.clone()
        else:
            yield name, value.data
