"""``pluralign models``: uses of a language model, memory of its training, locations of moved models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, say
from pluralign.learn.texts.training_options import Training
from pluralign.lm.dtypes import DTypeName


def check(model: Annotated[str, tyro.conf.Positional], dtype: DTypeName = "auto") -> Figures:
    """Show the supported uses of a language model: right, right but slower ("plain way"), or refused with a
    reason.

    A small forest of random tokens is compared with separate sequences; the result is stored.

    Example: pluralign models check smollm2-135m

    Args:
        model: Hub id, local folder or built-in name.
        dtype: Floating-point type of the weights.
    """
    # Help needs no model.
    from pluralign.evaluate.model_check import check_model

    uses = check_model(model, dtype=dtype)
    width = max(map(len, uses))
    for name, use in uses.items():
        say(f"{name:{width}}  {use.way:9}  {use.note}".rstrip())
    return {name: asdict(use) for name, use in uses.items()}


def locate(
    folder: Annotated[Path, tyro.conf.Positional], model: Annotated[str, tyro.conf.Positional]
) -> Figures:
    """Record where the base model of a trained folder is, after the model was moved.

    Folders find a model that moved together with them, and hub ids. The model is loaded, and refused if it is
    not the one that the folder was trained on.

    Example: pluralign models locate runs/helpful /models/llama

    Args:
        folder: Folder of a trained policy or reward model.
        model: Hub id or folder of its base model.
    """
    from pluralign.folders.card import locate_model

    before = locate_model(folder, model)
    say(f"{folder}: the base model is {model} (it was {before})")
    return {"folder": str(folder), "model": model, "before": before}


_DEFAULT = Training()
_ROWS = {
    "weights": "the model",
    "adapter": "LoRA",
    "gradients": "of trained weights",
    "optimizer": "two moments of AdamW",
    "gathered": "whole layers of a sharded process",
    "activations": "kept for the backward pass of a forest",
    "temporary": "made and freed in a pass",
    "logits": "largest part of temporary that the vocabulary takes",
    "loading": "while the model is read",
    "peak": "largest sum",
}


def memory(
    model: Annotated[str, tyro.conf.Positional],
    training: Training = _DEFAULT,
    reward: bool = False,
    shards: int = 1,
) -> Figures:
    """Estimate the memory that training takes on each device, from the model's configuration alone.

    A step with full forests is run on tensors without data. Python, PyTorch and the data (0.5 to 1 GB),
    states of frozen layers, and what kernels and allocators take for themselves are not counted.

    Example: pluralign models memory Qwen/Qwen3-8B --training.lora-rank 16 --training.dtype bfloat16
    --training.gradient-checkpointing True

    Args:
        model: Hub id, local folder or built-in name.
        training: Training options.
        reward: Whether a reward at the last token is learned; by default log-probabilities (DPO).
        shards: Number of processes that share weights, gradients and optimizer under FSDP2 or ZeRO-3.
    """
    from pluralign.learn.texts.memory import estimate_memory

    found = estimate_memory(model, training, reward=reward, shards=shards)
    figures = asdict(found)
    for name, note in _ROWS.items():
        say(f"{name:11} {figures[name] / 1e9:8.2f} GB  {note}")
    return figures
