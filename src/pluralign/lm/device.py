"""Device on which models are loaded and run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from pluralign.core import InputError

_chosen: list[torch.device] = []


def default_device() -> torch.device:
    """Device of models for which none is named: that of the innermost `use_device`, else the GPU if there is
    one (CUDA), else the CPU. Apple's GPUs (mps) are used by name only."""
    if _chosen:
        return _chosen[-1]
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def use_device(name: str | None) -> Generator[torch.device]:
    """Inside, models are loaded and trained on this device; None changes nothing.

    Raises:
        InputError: See `resolve_device`.
    """
    if name is None:
        yield default_device()
        return
    device = resolve_device(name)
    number: Any = device.index  # None for "cuda"
    if device.type == "cuda" and number is not None:
        # Trainers and libraries that ask for "cuda" get the current device.
        torch.cuda.set_device(device)
    _chosen.append(device)
    try:
        yield device
    finally:
        _chosen.pop()


def resolve_device(name: str) -> torch.device:
    """The device that a name means: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        InputError: The name is none of these, or this machine has no such device.
    """
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise InputError(f"must be cpu, cuda, cuda:NUMBER or mps, found {name!r}", field="device")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}[kind]
    if int(number or 0) >= count:
        found = "no such device" if not count or kind != "cuda" else f"{count} of this kind, from cuda:0"
        raise InputError(f"this machine has {found}: {name!r}", field="device")
    return torch.device(name)
