"""Floating-point types of models in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pluralign.lm.quantized import quantized_layers


def in_dtype(model: Any, dtype: torch.dtype) -> Any:
    """A model (which is changed) with all weights in a floating-point type, as if it had been loaded in it.

    Buffers that are no weights, such as the frequencies of rotary positions, keep the precision in which they
    were computed: rounded, they would turn far positions by a radian and more. Weights in 4 bits stay so, and
    are multiplied in the new type.

    Args:
        model: Model of transformers, with or without an adapter.
        dtype: The floating-point type.
    """
    kept: list[tuple[Any, str, Tensor]] = []
    for module in model.modules():
        # PyTorch has no public name for the set of buffers that files do not have.
        own: set[str] = module._non_persistent_buffers_set
        kept += [(module, name, module._buffers[name]) for name in own if module._buffers[name] is not None]
    # PEFT's and transformers' own methods refuse types for quantised models.
    nn.Module.to(model, dtype)
    for module, name, buffer in kept:
        module._buffers[name] = buffer
    for _, layer in quantized_layers(model):
        layer.compute_dtype = dtype
    return model
