"""Keys and values of rows of similar lengths, in one tensor per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.pattern import Pattern, stored_scores
from pluralign.lm.sample_attention import KeysAndValues

# Number of tokens by which room grows.
_STRIDE = 64
# Room of the shelf of the shortest rows; each further one has twice the room of the one before it.
SHORTEST = 256


def shelf_room(tokens: int) -> int:
    """Room of the smallest shelf that holds rows of this many tokens."""
    return SHORTEST << (-(-tokens // SHORTEST) - 1).bit_length()


class KeyShelf:
    """Keys and values of rows that have a room of at most ``most`` tokens, each in a slot.

    Slots are filled from the first one on: the last row takes the place of one that leaves. The number of
    slots is at most twice the number of rows, and a slot has room for the longest row, rounded up to 64.

    Args:
        most: Largest number of tokens of a row.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.lengths: list[int] = []
        """Number of tokens of the row in each slot, without the new one of a step."""
        self._store: dict[int, KeysAndValues] = {}
        self._slots: int = 0
        self._room: int = 0
        self._numbers: Int[Tensor, " rows"] | None = None
        self._places: Int[Tensor, " rows"] | None = None
        self._seen: dict[tuple[int | None, int | None], Tensor] = {}

    @property
    def capacity(self) -> int:
        """Number of tokens for which memory is allocated."""
        return self._slots * self._room

    def add(self, rows: Sequence[Mapping[int, KeysAndValues]], lengths: Sequence[int]) -> None:
        """Copy rows into the next slots.

        Args:
            rows: Keys and values of each row by layer, each of shape (groups, tokens, width).
            lengths: Number of tokens of each row.
        """
        first, last = len(self.lengths), len(self.lengths) + len(rows)
        # A fifth of the slots is spare, so that rows that are added one by one are not copied each time.
        spare = last // 4 if self._slots else 0
        slots = self._slots if last <= self._slots else last + spare
        self._resize(slots, max(lengths) + 1, rows[0])
        for layer, pair in self._store.items():
            for i, store in enumerate(pair):
                for slot, row, length in zip(range(first, last), rows, lengths, strict=True):
                    store[slot, :, :length] = row[layer][i]
        self.lengths += lengths
        self._places = None

    def row(self, slot: int) -> dict[int, KeysAndValues]:
        """Keys and values of the row in a slot: views that are valid until the shelf changes."""
        length = self.lengths[slot]
        return {
            layer: (keys[slot, :, :length], values[slot, :, :length])
            for layer, (keys, values) in self._store.items()
        }

    def keep(self, slots: Sequence[int]) -> list[int]:
        """Remove all other rows, and give back memory where less than half of the slots is left.

        Args:
            slots: Slots that are kept, in increasing order.

        Returns:
            The new slot of each of them.
        """
        count = len(slots)
        late, gaps = [s for s in slots if s >= count], sorted(set(range(count)) - set(slots))
        moved = dict(zip(late, gaps, strict=True))
        for pair in self._store.values():
            for store in pair:
                for old, new in moved.items():
                    store[new, :, : self.lengths[old]] = store[old, :, : self.lengths[old]]
        places = [moved.get(slot, slot) for slot in slots]
        lengths = dict(zip(places, (self.lengths[slot] for slot in slots), strict=True))
        self.lengths = [lengths[slot] for slot in range(count)]
        self._places = None
        if not count:
            self._store.clear()
            self._slots = self._room = 0
        elif self._slots > 2 * count:
            self._resize(count, 0)
        return places

    def begin(self, device: torch.device) -> Int[Tensor, " rows"]:
        """Make room for a new token of every row; its position in each."""
        longest = max(self.lengths) + 1
        self._resize(self._slots, longest)
        if self._places is None:
            self._places = torch.tensor(self.lengths, device=device)
            self._numbers = torch.arange(len(self.lengths), device=device)
        self._seen = {(None, None): torch.arange(longest, device=device) <= self._places[:, None]}
        return self._places

    def end(self) -> None:
        """Count the new tokens."""
        self.lengths = [length + 1 for length in self.lengths]
        if self._places is not None:
            self._places = self._places + 1

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "rows groups heads width"],
        key: Float[Tensor, "rows groups width"],
        value: Float[Tensor, "rows groups value_width"],
        pattern: Pattern,
    ) -> Float[Tensor, "rows groups heads value_width"]:
        """Attention of every row's new token, whose scaled query, key and value these are."""
        seen = self._seen_by(pattern)
        rows, longest = seen.shape
        keys, values = (store[:rows] for store in self._store[layer])
        keys[self._numbers, :, self._places] = key
        values[self._numbers, :, self._places] = value
        scores = stored_scores(query, keys, longest)
        weights = pattern.weights(scores, seen[:, None, None], heads=2).to(values.dtype)
        return weights @ values[:, :, :longest]

    def _seen_by(self, pattern: Pattern) -> Tensor:
        known = (pattern.window, pattern.chunk)
        if known not in self._seen:
            assert self._places is not None, "a step begins with begin()"
            places = torch.arange(self._seen[None, None].shape[1], device=self._places.device)
            self._seen[known] = pattern.sees(self._places[:, None], places[None])
        return self._seen[known]

    def _resize(self, slots: int, room: int, like: Mapping[int, KeysAndValues] | None = None) -> None:
        """Change the number of slots, and their room to at least this; the contents of slots are copied."""
        room = max(self._room, -(-room // _STRIDE) * _STRIDE)
        if (slots, room) == (self._slots, self._room):
            return
        kept = min(slots, self._slots)
        for layer, pair in (self._store or like or {}).items():
            grown: list[Tensor] = []
            for one in pair:
                whole = one.new_zeros(slots, one.shape[-3], room, one.shape[-1])
                if layer in self._store:
                    whole[:kept, :, : self._room] = one[:kept, :, : self._room]
                grown.append(whole)
            self._store[layer] = grown[0], grown[1]
        self._slots, self._room = slots, room
