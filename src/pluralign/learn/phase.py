"""Settings of one training phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from pluralign.core import InputError

ScheduleName = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
    "inverse_sqrt",
]  # fmt: skip
"""Names of the schedules of transformers that need no settings of their own."""
Tracker = Literal["tensorboard", "wandb", "trackio"]
"""Names of the packages that losses can be reported to."""
GradientsName = Literal["sum", "min_norm", "guided"]
"""Names of the ways to weigh gradients on shared parameters (`learn.shared_gradients`)."""


@dataclass(frozen=True)
class Phase:
    """Settings of one training phase with one optimizer.

    Args:
        name: Name shown by the progress bar.
        folder: Folder of the training checkpoints.
        examples: Number of rows in the data.
        steps: Number of optimizer steps.
        batch_size: Number of rows per step, over all processes.
        learning_rate: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        seed: Random seed of the data order.
        warmup: Share of the steps in which the learning rate first rises from 0.
        bf16: Whether to use mixed precision: matrix products in bfloat16, weights in float32.
        schedule: Name of the learning rate's schedule after the warmup.
        max_grad_norm: Largest norm of a step's gradient; 0 for no limit.
        report_to: Trackers that get losses and learning rates.
    """

    name: str
    folder: Path
    examples: int
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int
    warmup: float = 0.0
    bf16: bool = False
    schedule: ScheduleName = "linear"
    max_grad_norm: float = 1.0
    report_to: Sequence[Tracker] = ()


def require_trackers(names: Sequence[Tracker]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        InputError: One is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise InputError(f"{name} is not installed: pip install {name}", field="report_to")


def require_gradients(name: str) -> None:
    """Check the name of a way to weigh gradients.

    Raises:
        InputError: There is no such way.
    """
    if name not in (known := get_args(GradientsName)):
        raise InputError(f"must be one of {', '.join(known)}, found {name!r}", field="gradients")
