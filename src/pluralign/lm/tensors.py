"""Functions of PyTorch with the types that its own annotations leave open."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils import checkpoint

_torch: Any = torch
_checkpoint: Any = checkpoint


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed PyTorch's random numbers for a block, such as one that draws initial weights; the state of the
    CPU's generator is restored afterwards."""
    with _torch.random.fork_rng(devices=[]):
        _torch.manual_seed(seed)
        yield


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
