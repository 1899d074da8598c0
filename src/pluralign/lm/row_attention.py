"""Attention while rows of different lengths are continued together, a token of each at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.pattern import Pattern
from pluralign.lm.sample_attention import KeysAndValues

# Number of tokens by which room grows.
_STRIDE = 64


class RowLayout:
    """Rows that come and go, each with its own keys and values; one new token of every row in a step.

    Row i of a step is row i here: `select` says which rows stay, and in what order. A row's keys and values
    stay in their slot all the while: what moves is the step's own queries, which are small.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.lengths: list[int] = []
        """Tokens that each row has, the new one not among them."""
        self._slots: list[int] = []
        """Where each row's keys and values are."""
        self._store: dict[int, KeysAndValues] = {}
        self._seen: Tensor | None = None
        self._places: Tensor | None = None
        self._order: Tensor | None = None

    def append(self, kept: dict[int, KeysAndValues], lengths: Sequence[int], prompts: Sequence[int]) -> None:
        """Take over prompts that went through the layers in a `PromptLayout`, as new rows.

        Args:
            kept: Keys and values of the layout.
            lengths: Number of tokens of each of its prompts, in order.
            prompts: Number of each new row's prompt; several rows may continue one.
        """
        taken = set(self._slots)
        free = (slot for slot in range(len(taken) + len(prompts)) if slot not in taken)
        slots = [slot for slot, _ in zip(free, prompts, strict=False)]
        ends = np.cumsum(lengths).tolist()
        everything = self._slots + slots
        room = max([*self.lengths, *lengths]) + 1
        for layer, pair in kept.items():
            own = self._with_room(layer, pair, max(everything) + 1, room)
            for store, new in zip(own, pair, strict=True):
                for slot, prompt in zip(slots, prompts, strict=True):
                    end, length = ends[prompt], lengths[prompt]
                    store[slot, :, :length] = new[:, end - length : end]
        self.lengths += [lengths[prompt] for prompt in prompts]
        self._slots = everything

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        self.lengths = [self.lengths[i] for i in rows]
        self._slots = [self._slots[i] for i in rows]
        if not rows:
            self._store.clear()
        # Empty slots between full ones are computed with: where there are more than full ones, rows move up.
        elif max(self._slots) + 1 > 2 * len(rows):
            for layer, (keys, values) in self._store.items():
                index = torch.tensor(self._slots, device=keys.device)
                self._store[layer] = keys[index], values[index]
            self._slots = list(range(len(rows)))

    def begin(self, device: torch.device) -> Int[Tensor, "1 rows"]:
        """Make room for a token of every row; their positions."""
        longest, slots = max(self.lengths) + 1, max(self._slots) + 1
        for layer, (keys, values) in list(self._store.items()):
            self._with_room(layer, (keys[0], values[0]), slots, longest)
        positions = torch.tensor(self.lengths, device=device)
        self._order = torch.tensor(self._slots, device=device)
        # An empty slot attends to its first place; its result is not read.
        self._places = torch.zeros(slots, dtype=torch.long, device=device).index_copy(
            0, self._order, positions
        )
        self._seen = torch.arange(longest, device=device) <= self._places[:, None]
        return positions[None]

    def end(self) -> None:
        """The step is done."""
        self.lengths = [length + 1 for length in self.lengths]

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "1 heads rows width"],
        key: Float[Tensor, "1 groups rows width"],
        value: Float[Tensor, "1 groups rows value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "1 heads rows value_width"]:
        """See `lm.attention.Layout`: each token sees the earlier ones of its row, and itself."""
        self.calls += 1
        assert self._seen is not None, "a step begins with begin()"
        assert self._places is not None
        assert self._order is not None
        slots, longest = self._seen.shape
        keys, values = (store[:slots] for store in self._store[module.layer_idx])
        rows, groups, width = len(self._slots), key.shape[1], key.shape[3]
        ends = self._places[self._order]
        keys[self._order, :, ends] = key[0].transpose(0, 1)
        values[self._order, :, ends] = value[0].transpose(0, 1)
        queries = query[0].view(groups, -1, rows, width).permute(2, 0, 1, 3)
        queries = queries * (width**-0.5 if scaling is None else scaling)
        moved = self._slots != list(range(slots))
        if moved:
            queries = queries.new_zeros(slots, *queries.shape[1:]).index_copy(0, self._order, queries)
        scores = queries @ keys[:, :, :longest].transpose(-1, -2)
        own = self._seen
        if pattern.reach is not None:
            own = pattern.sees(self._places[:, None], torch.arange(longest, device=own.device)[None])
        weights = pattern.weights(scores, own[:, None, None], heads=2).to(values.dtype)
        seen = weights @ values[:, :, :longest]
        if moved:
            seen = seen[self._order]
        return seen.permute(1, 2, 0, 3).reshape(1, query.shape[1], rows, -1)

    def _with_room(self, layer: int, like: KeysAndValues, slots: int, room: int) -> KeysAndValues:
        """The layer's keys and values, with at least this number of slots and places in each."""
        known = self._store.get(layer)
        if known is None:
            known = self._store[layer] = _empty(like[0], slots, room), _empty(like[1], slots, room)
        elif known[0].shape[0] < slots or known[0].shape[2] < room:
            # Of what is added a part is spare, so that rows that come one by one are not copied each time.
            most = slots + slots // 4 if known[0].shape[0] < slots else known[0].shape[0]
            known = self._store[layer] = _grown(known[0], most, room), _grown(known[1], most, room)
        return known


def _empty(like: Float[Tensor, "groups _ width"], slots: int, room: int) -> Tensor:
    return like.new_zeros(slots, like.shape[0], _rounded_up(room), like.shape[2])


def _grown(known: Float[Tensor, "slots groups room width"], slots: int, room: int) -> Tensor:
    whole = _empty(known[0], slots, max(room, known.shape[2]))
    whole[: known.shape[0], :, : known.shape[2]] = known
    return whole


def _rounded_up(tokens: int) -> int:
    return -(-tokens // _STRIDE) * _STRIDE
