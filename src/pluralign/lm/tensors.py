"""Functions of PyTorch with the types that its own annotations leave open."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils import checkpoint

_torch: Any = torch
_checkpoint: Any = checkpoint


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed PyTorch's random numbers for a block, such as one that draws initial weights."""
    with kept_random_state():
        _torch.manual_seed(seed)
        yield


@contextmanager
def kept_random_state() -> Generator[None]:
    """Restore the states of Python's, NumPy's and PyTorch's random numbers after a block: they are the
    caller's, who would draw the same numbers again after each block that seeds them."""
    # Asking for the states of GPUs that are not in use would initialise them.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state
    with _torch.random.fork_rng(devices=list(gpus)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def to_list(values: Tensor) -> list[Any]:
    """Values as nested lists of Python's numbers."""
    numbers: Any = values
    return numbers.tolist()


def distinct_values(
    values: Int[Tensor, "*batch"],
) -> tuple[Int[Tensor, " distinct"], Int[Tensor, "*batch"]]:
    """Distinct values in ascending order, and the index of each value among them."""
    return _torch.unique(values, return_inverse=True)


def recomputed(function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
    """Result of a function; the backward pass computes its activations again (`torch.utils.checkpoint`)."""
    return _checkpoint.checkpoint(function, *args, use_reentrant=False, **settings)
