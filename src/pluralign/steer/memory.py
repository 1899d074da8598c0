"""Decoding when memory is short."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pluralign.steer.requests import Event


class RequestDropped(RuntimeError):
    """Memory was too short for all requests; one was removed, and the others continue.

    Args:
        number: Number of the removed request.
        events: Events of the step before memory was short.
    """

    def __init__(self, number: int, events: Sequence[Event]) -> None:
        super().__init__(f"out of memory: request {number} was removed")
        self.number, self.events = number, tuple(events)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has too little memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The allocator of CPUs raises a plain RuntimeError.
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def free_memory() -> None:
    """Return unused memory of the device, so that it can be allocated in other sizes."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
