"""Functions of PyTorch with the types that its own annotations leave open."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils import checkpoint

from pluralign.core import InputError

_torch: Any = torch
_checkpoint: Any = checkpoint
P = ParamSpec("P")
R = TypeVar("R")
_TURN = threading.RLock()
"""Held while random numbers of the whole process are seeded."""


def trains(fit: Callable[P, R]) -> Callable[P, R]:
    """Let a trainer give the same result wherever it is called: its tensors are in float32 by default, its
    random numbers are its own, and another thread's training waits for it.

    Raises:
        InputError: At each call within `torch.inference_mode`, in which nothing learns.
    """

    @functools.wraps(fit)
    def trainer(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.is_inference_mode_enabled():
            raise InputError("training needs gradients; call it outside of torch.inference_mode()")
        with kept_random_state(), _float32_by_default():
            return fit(*args, **kwargs)

    return trainer


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed PyTorch's random numbers for a block, such as one that draws initial weights: in float32, whatever
    type the caller's tensors have by default."""
    with kept_random_state(), _float32_by_default():
        _torch.manual_seed(seed)
        yield


@contextmanager
def _float32_by_default() -> Generator[None]:
    given = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(given)


@contextmanager
def kept_random_state() -> Generator[None]:
    """Restore the states of Python's, NumPy's and PyTorch's random numbers after a block: they are the
    caller's, who would draw the same numbers again after each block that seeds them. Threads take turns."""
    # Asking for the states of GPUs that are not in use would initialise them.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with _TURN, _torch.random.fork_rng(devices=list(gpus)):
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state
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
