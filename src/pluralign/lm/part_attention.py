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
from pluralign.lm.prefix_cache import LayerKeys
from pluralign.lm.sample_attention import KeysAndValues


class PartLayout:
    """Prompts, one after the other in a row, of which consecutive tokens are read at a time.

    Args:
        lengths: Number of tokens of each prompt.
        device: Device of the model.
        known: Keys and values with which each prompt begins, in pieces; these tokens are not read and not in
            the row. Without it all are read.
    """

    def __init__(
        self, lengths: Sequence[int], device: torch.device,
        known: Sequence[Sequence[LayerKeys]] | None = None,
    ) -> None:  # fmt: skip
        self.calls = 0
        self.kept: dict[int, KeysAndValues] = {}
        """Keys and values of each layer, each of shape (groups, tokens, width)."""
        self._known: list[list[LayerKeys]] = (
            [list(pieces) for pieces in known] if known is not None else [[] for _ in lengths]
        )
        skipped = [sum(_tokens(piece) for piece in pieces) for pieces in self._known]
        # Where each prompt begins among the keys that are kept, and where its first token that is read lies
        # there and in the row.
        self._starts = [0, *accumulate(lengths)][:-1]
        self._total = sum(lengths)
        self._first_read = [start + skip for start, skip in zip(self._starts, skipped, strict=True)]
        self.unread = [length - skip for length, skip in zip(lengths, skipped, strict=True)]
        """Number of tokens of each prompt in the row."""
        self._row_starts = [0, *accumulate(self.unread)][:-1]
        self._positions = torch.cat(
            [torch.arange(skip, length, device=device) for skip, length in zip(skipped, lengths, strict=True)]
        )
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
            kept = self.kept[module.layer_idx] = self._begin(module.layer_idx, key, value)
        start, stop = self._part.start, self._part.stop
        heads = query.shape[1] // key.shape[1]
        # Copies of all keys so far would take as long as a small part. On CUDA only slow kernels read groups.
        grouped = pattern.plain and query.device.type == "cpu"
        parts: list[Tensor] = []
        for first, read, row, count in zip(
            self._starts, self._first_read, self._row_starts, self.unread, strict=True
        ):
            low, high = max(row, start), min(row + count, stop)
            if low < high:
                own, end = slice(low - start, high - start), read + high - row
                for store, new in zip(kept, (key, value), strict=True):
                    store[:, read + low - row : end] = new[0, :, own]
                keys, values = (one[None, :, first:end] for one in kept)
                if not grouped:
                    keys, values = (one.repeat_interleave(heads, dim=1) for one in (keys, values))
                parts.append(self._paths.attend(query[:, :, own], keys, values, scaling, pattern))
        return torch.cat(parts, dim=2)

    def _begin(self, layer: int, *like: Float[Tensor, "1 groups _ width"]) -> KeysAndValues:
        """Room for a layer's keys and values, with those that are known."""
        keys, values = (one.new_empty(one.shape[1], self._total, one.shape[3]) for one in like)
        for place, pieces in zip(self._starts, self._known, strict=True):
            for piece in pieces:
                own = slice(place, place + _tokens(piece))
                keys[:, own], values[:, own] = piece[layer]
                place = own.stop
        return keys, values


def _tokens(piece: LayerKeys) -> int:
    return next(iter(piece.values()))[0].shape[1]
