"""Digests of arrays, tensors and weights that a user's function computes with."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, is_dataclass
from typing import Any, cast

import numpy as np

from pluralign.core.digests import digest

_SAMPLED = 1 << 22
"""Most values of an array that are read; of larger ones a sample is, spread all over it: reading all weights
of a language model would take minutes."""


def numbers_of(value: Any) -> list[Any] | None:
    """Type, shape and digest of an array or a tensor; the weights of a PyTorch module; what identifies a
    model of pluralign, its card or its fingerprint.

    Returns:
        JSON values; None for everything else, and where the numbers cannot be read.
    """
    kind, array = type(value).__name__, value
    if isinstance(value, np.ndarray):
        numbers = None if array.dtype.hasobject else [str(array.dtype), list(array.shape), _of_array(array)]
        return numbers and [kind, *numbers]
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _of_tensor(value)
    if torch is not None and isinstance(value, torch.nn.Module):
        return [kind, *_weights_of(value)]
    if type(value).__module__.partition(".")[0] == "pluralign":
        card, identity = getattr(value, "card", None), getattr(value, "identity", None)
        named = dict(cast("Mapping[str, Any]", identity)) if isinstance(identity, Mapping) else None
        known = asdict(card) if is_dataclass(card) and not isinstance(card, type) else named
        return [kind, json.dumps(known, default=str)] if known else None
    return None


def _of_array(array: Any) -> str:
    flat = array.reshape(-1)
    return digest([np.ascontiguousarray(flat[:: _stride(flat.size)]).tobytes()])


def _stride(size: int) -> int:
    return max(1, -(-size // _SAMPLED))


def _of_tensor(tensor: Any) -> list[Any] | None:
    # Sparse, quantized and meta tensors have no plain numbers.
    with suppress(RuntimeError, TypeError, NotImplementedError):
        flat = tensor.detach().reshape(-1)
        read = flat[:: _stride(flat.numel())].cpu().contiguous()
        numbers = read.view(sys.modules["torch"].uint8).numpy()
        return ["Tensor", str(tensor.dtype), list(tensor.shape), digest([numbers.tobytes()])]
    return None


def _weights_of(module: Any) -> Iterator[list[Any]]:
    for members in (module.named_parameters(), module.named_buffers()):
        yield from ([name, _of_tensor(one)] for name, one in members)
