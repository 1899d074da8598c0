"""The share of a step's rows that a process has, next to those of the processes that train with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, distributed


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a number over all processes, each of which calls this in the same pass; no gradient."""
    if not _several():
        return value
    total = value.detach().clone()
    # Its types are partly unknown.
    sum_up: Any = distributed.all_reduce  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    sum_up(total)
    return total / distributed.get_world_size()


def rows_of_all(count: int) -> int:
    """Number of rows of a step of which this process has ``count``."""
    return count * distributed.get_world_size() if _several() else count


def own_rows(whole: Tensor) -> Tensor:
    """What belongs to this process's rows, from the same for all rows of a step."""
    return whole.chunk(distributed.get_world_size())[distributed.get_rank()] if _several() else whole


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
