"""Rows without an adapter, next to rows with one, in vLLM's LoRA layers on CPUs.

There a row without an adapter has slot -1, which indexes the last slot (vLLM 0.32): once an adapter is in it,
the model itself is computed with that adapter. One more slot, which stays empty, makes such rows right.
"""

from __future__ import annotations

from typing import Any

import torch

_NAMES = ("lora_a_stacked", "lora_b_stacked")


def add_empty_slot(model: Any) -> None:
    """Append a slot of zeros to the LoRA layers of a model.

    Args:
        model: vLLM's model, with LoRA layers or without.
    """
    for module in model.modules():
        for name in _NAMES:
            stacked: Any = getattr(module, name, None)
            if isinstance(stacked, tuple):
                setattr(module, name, tuple(_longer(one) for one in stacked))  # pyright: ignore
            elif isinstance(stacked, torch.Tensor) and type(module).__name__ == "LogitsProcessorWithLoRA":
                setattr(module, name, _longer(stacked))


def _longer(stacked: torch.Tensor) -> torch.Tensor:
    return torch.cat([stacked, torch.zeros_like(stacked[:1])])
