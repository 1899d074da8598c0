"""Attention while several candidates for the next token of every row are evaluated together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from pluralign.lm.pattern import Pattern, stored_scores
from pluralign.lm.sample_attention import KeysAndValues

# Number of tokens by which room grows.
_STRIDE = 64


class CandidateLayout:
    """Rows with their own keys and values, and k candidates for the next token of each.

    A candidate sees its row's tokens and itself, not its siblings. One of them is kept and becomes the row's
    latest token; the keys of the others are dropped.

    Args:
        kept: Keys and values of a `sample_attention.PromptLayout` of prompts with k branches of one token.
        lengths: Number of tokens of each prompt, in the row's order.
        candidates: Number k of candidates of each row.
    """

    def __init__(self, kept: Mapping[int, KeysAndValues], lengths: Sequence[int], candidates: int) -> None:
        self.calls = 0
        self.lengths = list(lengths)
        """Tokens that each row has, the candidates not among them."""
        self.candidates = candidates
        self._store: dict[int, KeysAndValues] = {}
        self._latest: dict[int, KeysAndValues] = {}
        self._seen: Bool[Tensor, "rows longest"] | None = None
        room = _rounded_up(max(lengths) + 1)
        for layer, (keys, values) in kept.items():
            read = [_cut(one, lengths, candidates, room) for one in (keys, values)]
            self._store[layer] = read[0][0], read[1][0]
            self._latest[layer] = read[0][1], read[1][1]

    def join(self, other: CandidateLayout) -> None:
        """Append the rows of another layout; both have evaluated their candidates."""
        for layer, theirs in other._store.items():
            room = max(self._store[layer][0].shape[2], theirs[0].shape[2])
            self._store[layer] = _both(
                lambda a, b, room=room: torch.cat([_widened(a, room), _widened(b, room)]),
                self._store[layer], theirs,
            )  # fmt: skip
            self._latest[layer] = _both(
                lambda a, b: torch.cat([a, b]), self._latest[layer], other._latest[layer]
            )
        self.lengths += other.lengths

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order."""
        if list(rows) == list(range(len(self.lengths))):
            return
        for stores in (self._store, self._latest):
            for layer, (keys, values) in stores.items():
                index = torch.tensor(rows, dtype=torch.long, device=keys.device)
                stores[layer] = keys[index], values[index]
        self.lengths = [self.lengths[i] for i in rows]

    def keep(self, chosen: Sequence[int]) -> None:
        """Make one candidate of each row, by its number, the row's next token."""
        for layer, latest in self._latest.items():
            device = latest[0].device
            everyone = torch.arange(len(chosen), device=device)
            places, picked = (torch.tensor(list(own), device=device) for own in (self.lengths, chosen))
            for store, new in zip(self._store[layer], latest, strict=True):
                store[everyone, :, places] = new[everyone, :, picked]
        self.lengths = [length + 1 for length in self.lengths]

    def begin(self, device: torch.device) -> Int[Tensor, "1 tokens"]:
        """Prepare for k candidates of every row, row after row; return their positions."""
        room = _rounded_up(max(self.lengths) + 1)
        for layer, (keys, values) in self._store.items():
            if keys.shape[2] < room:
                self._store[layer] = _widened(keys, room), _widened(values, room)
        places = torch.tensor(self.lengths, device=device)
        self._seen = torch.arange(max(self.lengths), device=device) < places[:, None]
        return places.repeat_interleave(self.candidates)[None]

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "1 heads tokens width"],
        key: Float[Tensor, "1 groups tokens width"],
        value: Float[Tensor, "1 groups tokens value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "1 heads tokens value_width"]:
        """See `lm.attention.Layout`."""
        self.calls += 1
        assert self._seen is not None, "a step begins with begin()"
        rows, longest = self._seen.shape
        groups, width, count = key.shape[1], key.shape[3], self.candidates
        own_keys, own_values = (one[0].view(groups, rows, count, -1).transpose(0, 1) for one in (key, value))
        self._latest[module.layer_idx] = own_keys, own_values
        keys, values = self._store[module.layer_idx]
        queries = query[0].view(groups, -1, rows, count, width).permute(2, 0, 1, 3, 4)
        queries = queries * (width**-0.5 if scaling is None else scaling)
        of_row = stored_scores(queries.reshape(rows, groups, -1, width), keys, longest)
        of_self = (queries * own_keys[:, :, None]).sum(-1, keepdim=True)
        scores = torch.cat([of_row.view(*queries.shape[:-1], longest), of_self], dim=-1)
        weights = pattern.weights(scores, self._seen_by(pattern)[:, None, None, None], heads=2)
        weights = weights.to(values.dtype)
        seen = weights[..., :-1].reshape(rows, groups, -1, longest) @ values[:, :, :longest]
        seen = seen.view(*queries.shape[:-1], -1) + weights[..., -1:] * own_values[:, :, None]
        return seen.permute(1, 2, 0, 3, 4).reshape(1, query.shape[1], rows * count, -1)

    def _seen_by(self, pattern: Pattern) -> Bool[Tensor, "rows keys"]:
        """Which of its row's keys, and after them itself, a candidate sees."""
        assert self._seen is not None, "a step begins with begin()"
        seen = self._seen
        if pattern.reach is not None:
            places = torch.tensor(self.lengths, device=seen.device)[:, None]
            seen = seen & pattern.sees(places, torch.arange(seen.shape[1], device=seen.device)[None])
        return torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1)


def _cut(
    kept: Float[Tensor, "groups tokens width"], lengths: Sequence[int], candidates: int, room: int
) -> tuple[Float[Tensor, "rows groups room width"], Float[Tensor, "rows groups candidates width"]]:
    """The prompts' part of what was kept, padded at its end, and the candidates'."""
    parts = torch.split(kept.transpose(0, 1), [length + candidates for length in lengths])
    prompts = [part[:length] for part, length in zip(parts, lengths, strict=True)]
    latest = torch.stack([part[length:] for part, length in zip(parts, lengths, strict=True)])
    whole = pad_sequence(prompts, batch_first=True).transpose(1, 2)
    return _widened(whole, room), latest.transpose(1, 2)


def _widened(store: Float[Tensor, "rows groups room width"], room: int) -> Tensor:
    """A copy with room for this number of tokens."""
    return pad(store, (0, 0, 0, room - store.shape[2]))


def _both(
    function: Callable[[Tensor, Tensor], Tensor], one: KeysAndValues, other: KeysAndValues
) -> KeysAndValues:
    """The function of both keys and of both values."""
    return function(one[0], other[0]), function(one[1], other[1])


def _rounded_up(tokens: int) -> int:
    return -(-tokens // _STRIDE) * _STRIDE
