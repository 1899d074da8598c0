"""Attention while rows of different lengths are continued together, a token of each at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.key_shelf import KeyShelf, shelf_room
from pluralign.lm.pattern import Pattern
from pluralign.lm.sample_attention import KeysAndValues


class RowLayout:
    """Rows that are added and removed, each with its own keys and values; one new token of every row in a
    step.

    Keys and values are on shelves by length (`KeyShelf`): rows of up to 256 tokens, up to 512, up to 1,024
    and so on. A row that outgrows its shelf moves to the next one. Memory is allocated for at most 4 tokens
    for each token that is held (new ones included), plus 512 tokens for each row. Reordering rows moves no
    keys, only the queries of a step.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._shelves: dict[int, KeyShelf] = {}
        # Shelf and slot of each row, in the order of the rows.
        self._rows: list[tuple[int, int]] = []
        # What stays the same from step to step: the order in which the shelves have the rows, and back.
        self._order: tuple[Int[Tensor, " rows"], Int[Tensor, " rows"]] | None = None
        self._arranged = False

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each row, without the new one of a step."""
        return [self._shelves[room].lengths[slot] for room, slot in self._rows]

    @property
    def capacity(self) -> int:
        """Number of tokens for which memory is allocated."""
        return sum(shelf.capacity for shelf in self._shelves.values())

    def append(
        self, kept: Mapping[int, KeysAndValues], lengths: Sequence[int], prompts: Sequence[int]
    ) -> None:
        """Take over prompts that went through the layers in a `PromptLayout`, as new rows.

        Args:
            kept: Keys and values of the layout.
            lengths: Number of tokens of each of its prompts, in order.
            prompts: Number of each new row's prompt; several rows may continue one.
        """
        ends = list(accumulate(lengths))
        cut = [
            {
                layer: (keys[:, end - length : end], values[:, end - length : end])
                for layer, (keys, values) in kept.items()
            }
            for end, length in zip(ends, lengths, strict=True)
        ]
        self._rows += self._add([cut[i] for i in prompts], [lengths[i] for i in prompts])

    def copy(self, row: int) -> tuple[int, dict[int, KeysAndValues]]:
        """Number of tokens of a row, and a copy of its keys and values by layer, as `append` takes them."""
        room, slot = self._rows[row]
        shelf = self._shelves[room]
        held = {layer: (keys.clone(), values.clone()) for layer, (keys, values) in shelf.row(slot).items()}
        return shelf.lengths[slot], held

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        if not rows or list(rows) != list(range(len(self._rows))):
            self._rows = [self._rows[i] for i in rows]
            self._keep(self._rows)

    def begin(self, device: torch.device) -> Int[Tensor, "1 rows"]:
        """Make room for a token of every row; their positions."""
        self._move_long_rows()
        shelves = sorted(self._shelves.items())
        if not self._arranged:
            starts, start = dict[int, int](), 0
            for room, shelf in shelves:
                starts[room], start = start, start + len(shelf.lengths)
            back = [starts[room] + slot for room, slot in self._rows]
            self._order = None
            if back != list(range(start)):
                places = torch.tensor(back, device=device)
                self._order = places.argsort(), places
            self._arranged = True
        positions = torch.cat([shelf.begin(device) for _, shelf in shelves])
        return (positions if self._order is None else positions[self._order[1]])[None]

    def end(self) -> None:
        """Count the new tokens: the step is done."""
        for shelf in self._shelves.values():
            shelf.end()

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
        assert self._arranged, "a step begins with begin()"
        rows, groups, width = len(self._rows), key.shape[1], key.shape[3]
        queries = query[0].view(groups, -1, rows, width).permute(2, 0, 1, 3)
        queries = queries * (width**-0.5 if scaling is None else scaling)
        keys, values = key[0].transpose(0, 1), value[0].transpose(0, 1)
        if self._order is not None:
            queries, keys, values = (one[self._order[0]] for one in (queries, keys, values))
        found: list[Tensor] = []
        start = 0
        for _, shelf in sorted(self._shelves.items()):
            own = slice(start, start + len(shelf.lengths))
            found.append(shelf.attend(module.layer_idx, queries[own], keys[own], values[own], pattern))
            start = own.stop
        seen = found[0] if len(found) == 1 else torch.cat(found)
        if self._order is not None:
            seen = seen[self._order[1]]
        return seen.permute(1, 2, 0, 3).reshape(1, query.shape[1], rows, -1)

    def _add(
        self, rows: Sequence[Mapping[int, KeysAndValues]], lengths: Sequence[int]
    ) -> list[tuple[int, int]]:
        """Put rows on the shelves that have room for one more token of each; their shelves and slots."""
        found: list[tuple[int, int]] = []
        count = {room: len(shelf.lengths) for room, shelf in self._shelves.items()}
        for length in lengths:
            room = shelf_room(length + 1)
            found.append((room, count.get(room, 0)))
            count[room] = found[-1][1] + 1
        for room in dict.fromkeys(room for room, _ in found):
            own = [i for i, (other, _) in enumerate(found) if other == room]
            shelf = self._shelves.setdefault(room, KeyShelf(room))
            shelf.add([rows[i] for i in own], [lengths[i] for i in own])
        self._arranged = False
        return found

    def _keep(self, rows: Sequence[tuple[int, int]]) -> None:
        """Keep these rows of shelves and slots, and correct the slots of all rows."""
        moved: dict[tuple[int, int], tuple[int, int]] = {}
        for room, shelf in list(self._shelves.items()):
            slots = sorted(slot for other, slot in rows if other == room)
            moved.update(
                ((room, old), (room, new)) for old, new in zip(slots, shelf.keep(slots), strict=True)
            )
            if not slots:
                del self._shelves[room]
        self._rows = [moved[row] for row in self._rows]
        self._arranged = False

    def _move_long_rows(self) -> None:
        """Move rows without room for one more token to a shelf with more."""
        long = [
            (room, slot)
            for room, shelf in self._shelves.items()
            for slot, length in enumerate(shelf.lengths)
            if length >= room
        ]
        if not long:
            return
        lengths = [self._shelves[room].lengths[slot] for room, slot in long]
        new = self._add([self._shelves[room].row(slot) for room, slot in long], lengths)
        places = dict(zip(long, new, strict=True))
        self._rows = [places.get(row, row) for row in self._rows]
        self._keep(self._rows)
