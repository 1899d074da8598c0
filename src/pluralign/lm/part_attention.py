"""Attention while prompts are read in parts: some of their tokens at a time, after those read before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.path_attention import PathAttention
from pluralign.lm.pattern import Pattern
from pluralign.lm.sample_attention import KeysAndValues


class PartLayout:
    """Prompts, one after the other in a row, of which consecutive tokens are read at a time.

    Args:
        lengths: Number of tokens of each prompt.
        device: Device of the model.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.calls = 0
        self.kept: dict[int, KeysAndValues] = {}
        """Keys and values of each layer, each of shape (groups, tokens, width)."""
        self._ends = list(accumulate(lengths))
        self._starts = [end - length for end, length in zip(self._ends, lengths, strict=True)]
        self._positions = torch.cat([torch.arange(length, device=device) for length in lengths])
        self._paths = PathAttention(max(lengths), device)
        self._part = slice(0, 0)

    def begin(self, start: int, stop: int) -> Int[Tensor, "1 tokens"]:
        """The tokens from ``start`` to ``stop`` of the row are read next; their positions."""
        self._part = slice(start, stop)
        return self._positions[None, self._part]

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "1 heads tokens width"],
        key: Float[Tensor, "1 groups tokens width"],
        value: Float[Tensor, "1 groups tokens value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "1 heads tokens value_width"]:
        """See `lm.attention.Layout`: each token sees the earlier ones of its prompt, and itself."""
        self.calls += 1
        kept = self.kept.get(module.layer_idx)
        if kept is None:
            kept = self.kept[module.layer_idx] = self._room(key), self._room(value)
        for store, new in zip(kept, (key, value), strict=True):
            store[:, self._part] = new[0]
        start, stop = self._part.start, self._part.stop
        heads = query.shape[1] // key.shape[1]
        parts: list[Tensor] = []
        for first, end in zip(self._starts, self._ends, strict=True):
            low, high = max(first, start), min(end, stop)
            if low < high:
                keys, values = (one[None, :, first:high].repeat_interleave(heads, dim=1) for one in kept)
                own = query[:, :, low - start : high - start]
                parts.append(self._paths.attend(own, keys, values, scaling, pattern))
        return torch.cat(parts, dim=2)

    def _room(self, like: Float[Tensor, "1 groups _ width"]) -> Float[Tensor, "groups tokens width"]:
        return like.new_empty(like.shape[1], len(self._positions), like.shape[3])
