"""Memory of a computation, found by running it on tensors that have shapes and no data."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryTrace(TorchDispatchMode):
    """Inside, the memory of all tensors that operations make is counted; views count nothing.

    What a kernel needs for itself is not seen.
    """

    def __init__(self) -> None:
        cast("Any", super()).__init__()
        self.now = 0
        """Bytes of the tensors that are alive."""
        self.peak = 0
        """Largest number of bytes so far."""
        self._alive: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See PyTorch's TorchDispatchMode."""
        self._add((args, kwargs), made=False)
        found = func(*args, **(kwargs or {}))
        self._add(found, made=True)
        return found

    def _add(self, values: Any, *, made: bool) -> None:
        """Count tensors, if they were made here; views of known tensors are known."""
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                storage: Any = value.untyped_storage()
                if storage._cdata not in self._alive:
                    self._watch(storage, storage.nbytes() if made else 0)

    def _watch(self, storage: Any, size: int) -> None:
        key = storage._cdata

        def freed(_: Any) -> None:
            del self._alive[key]
            self.now -= size

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


@contextmanager
def fused_attention() -> Generator[None]:
    """Inside, attention keeps what fused kernels keep: queries, keys, values, output and a number per query.

    On tensors without data PyTorch would choose the attention that keeps all scores.
    """
    functional: Any = nn.functional
    own = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = _attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: Any
) -> Tensor:
    fused: Any = _Fused
    # A mask of booleans becomes one of numbers.
    return fused.apply(query, key, value, None if attn_mask is None else attn_mask.to(query.dtype))


class _Fused(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        found = query.new_empty(*query.shape[:-1], value.shape[-1])
        sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, mask, found, sums)
        return found

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None
