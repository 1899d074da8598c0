"""The random states that training shares with the user's own code."""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_random: Any = torch.random


@contextmanager
def kept_random_state() -> Generator[None]:
    """Give back the global random states of Python, NumPy and PyTorch as they were.

    Trainers seed all of them. What a user draws after training must not be the same after each training.
    """
    # NumPy's global state is what notebooks use.
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    try:
        with _random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
