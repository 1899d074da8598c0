"""Attention while rows of different lengths are continued together, a token of each at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.models.sample_attention import KeysAndValues

# Room is made for so many more tokens at a time.
_STRIDE = 64


class RowLayout:
    """Rows that come and go, each with its own keys and values; one new token of every row in a step.

    Row i of a step is row i here: `select` says which rows stay, and in what order.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.lengths: list[int] = []
        """Tokens that each row has, the new one not among them."""
        self._store: dict[int, KeysAndValues] = {}
        self._seen: Tensor | None = None
        self._places: Tensor | None = None

    def append(self, kept: dict[int, KeysAndValues], lengths: Sequence[int]) -> None:
        """Take over prompts that went through the layers in a `PromptLayout`, in their order, as new rows."""
        room = _rounded_up(max([*self.lengths, *lengths]) + 1)
        for layer, pair in kept.items():
            old = self._store.get(layer)
            parts: list[Tensor] = []
            for i, new in enumerate(pair):
                shape = (len(self.lengths) + len(lengths), new.shape[0], room, new.shape[2])
                whole = new.new_zeros(shape)
                if old is not None:
                    known = old[i][:, :, :room]
                    whole[: len(self.lengths), :, : known.shape[2]] = known
                start = 0
                for row, length in enumerate(lengths, start=len(self.lengths)):
                    whole[row, :, :length] = new[:, start : start + length]
                    start += length
                parts.append(whole)
            self._store[layer] = (parts[0], parts[1])
        self.lengths += lengths

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        if list(rows) == list(range(len(self.lengths))):
            return
        index = torch.tensor(rows, dtype=torch.long)
        for layer, (keys, values) in self._store.items():
            self._store[layer] = keys[index.to(keys.device)], values[index.to(values.device)]
        self.lengths = [self.lengths[i] for i in rows]

    def begin(self, device: torch.device) -> Int[Tensor, "1 rows"]:
        """Make room for a token of every row; their positions."""
        longest = max(self.lengths) + 1
        for layer, (keys, values) in self._store.items():
            if keys.shape[2] < longest:
                more = keys.new_zeros(*keys.shape[:2], _rounded_up(longest) - keys.shape[2], keys.shape[3])
                self._store[layer] = torch.cat([keys, more], 2), torch.cat([values, more], 2)
        self._places = torch.tensor(self.lengths, device=device)
        self._seen = torch.arange(longest, device=device) <= self._places[:, None]
        return self._places[None]

    def end(self) -> None:
        """The step is done."""
        self.lengths = [length + 1 for length in self.lengths]

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "1 heads rows width"],
        key: Float[Tensor, "1 groups rows width"],
        value: Float[Tensor, "1 groups rows width"],
        scaling: float | None,
        dropout: float,
    ) -> Float[Tensor, "1 heads rows width"]:
        """See `models.attention.Layout`: each token sees the earlier ones of its row, and itself."""
        self.calls += 1
        assert self._seen is not None, "a step begins with begin()"
        assert self._places is not None
        keys, values = self._store[module.layer_idx]
        rows, groups, width = len(self.lengths), key.shape[1], key.shape[3]
        everyone = torch.arange(rows, device=key.device)
        keys[everyone, :, self._places] = key[0].transpose(0, 1)
        values[everyone, :, self._places] = value[0].transpose(0, 1)
        longest = self._seen.shape[1]
        queries = query[0].view(groups, -1, rows, width).permute(2, 0, 1, 3)
        queries = queries * (width**-0.5 if scaling is None else scaling)
        scores = queries @ keys[:, :, :longest].transpose(-1, -2)
        scores = scores.masked_fill(~self._seen[:, None, None], float("-inf"))
        seen = scores.float().softmax(dim=-1).to(values.dtype) @ values[:, :, :longest]
        return seen.permute(1, 2, 0, 3).reshape(1, -1, rows, width)


def _rounded_up(tokens: int) -> int:
    return -(-tokens // _STRIDE) * _STRIDE
