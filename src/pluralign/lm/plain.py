"""The plain way through a model: separate sequences, by its own attention and its own cache.

Whatever transformers loads as a causal model can be run so, recurrent layers included. Slower than forests,
with the same results.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.forest import PROMPT, Forest
from pluralign.lm.passes import trunk_of
from pluralign.lm.positions import LengthFactors, reset_factors
from pluralign.lm.tensors import to_list

# Names of a model's own cache: transformers 5.24 renamed the other two. From then on outputs have all three,
# and models ignore those that they do not take.
_CACHES = ("cache", "past_key_values", "cache_params")
# Tokens of a batch of sequences, and the share of it that padding may take.
_BATCH = 8192
_PADDED = 1.25


def run_sequences(model: PreTrainedModel, rows: Int[Tensor, "rows tokens"], **settings: Any) -> Any:
    """Run sequences of equal length, or padded at their ends, through a model's trunk.

    Args:
        model: Any causal model.
        rows: Token ids.
        settings: More arguments of the trunk, such as ``output_hidden_states``.
    """
    trunk = trunk_of(model)
    reset_factors(trunk)
    try:
        return trunk(input_ids=rows, use_cache=False, **settings)
    finally:
        reset_factors(trunk)


def plain_states(
    model: PreTrainedModel, forest: Forest, layers: Sequence[int] | None = None, *,
    padding: bool = False, factors: LengthFactors | None = None,
) -> list[Float[Tensor, "tokens d"]]:  # fmt: skip
    """Hidden states of every token of a forest, each path computed as a sequence of its own.

    Args:
        model: Any causal model.
        forest: Forest on the model's device.
        layers: Layers whose states are returned, 0 the embedding; None for the last states alone.
        padding: Whether sequences of different lengths may be padded to one batch.
        factors: How position factors depend on the length of a sequence; None where they do not.

    Returns:
        One tensor for each layer, or the last states alone. A prompt's states are those of its first path.
    """
    paths = _paths(forest)
    parts: list[list[Tensor]] = []
    places: list[Tensor] = []
    for batch in _batches([len(path) for path, _ in paths], padding, factors):
        width = len(paths[batch[0]][0])
        # Filled up with the sequence's last token: causal layers do not look there.
        filled = [paths[i][0] + paths[i][0][-1:] * (width - len(paths[i][0])) for i in batch]
        index = torch.tensor(filled, device=forest.input_ids.device)
        output = run_sequences(model, forest.input_ids[0, index], output_hidden_states=layers is not None)
        found = (
            [output.last_hidden_state]
            if layers is None
            else [output.hidden_states[layer] for layer in layers]
        )
        # A state that several paths share counts once, for gradients are summed over the row.
        kept = torch.tensor([[paths[i][1] <= k < len(paths[i][0]) for k in range(width)] for i in batch])
        kept = kept.to(index.device)
        places.append(index[kept])
        parts.append([states[kept] for states in found])
    order = torch.cat(places)
    result: list[Tensor] = []
    for states in zip(*parts, strict=True):
        joined = torch.cat(states)
        empty = joined.new_zeros(forest.input_ids.shape[1], joined.shape[1])
        result.append(empty.index_copy(0, order, joined))
    return result


def _paths(forest: Forest) -> list[tuple[list[int], int]]:
    """Places of the tokens on each branch's path, and how many of them an earlier path has already."""
    trees: list[int] = to_list(forest.tree_ids)
    prompts: dict[int, list[int]] = {}
    for place, (tree, branch) in enumerate(zip(trees, to_list(forest.branch_ids), strict=True)):
        if branch == PROMPT:
            prompts.setdefault(tree, []).append(place)
    paths: list[tuple[list[int], int]] = []
    known: set[int] = set()
    ends: list[int] = to_list(forest.ends)
    for end, length in zip(ends, to_list(forest.lengths), strict=True):
        tree = trees[end]
        prompt = prompts.get(tree, [])
        paths.append((prompt + list(range(end - length + 1, end + 1)), len(prompt) if tree in known else 0))
        known.add(tree)
    return paths


def _batches(lengths: Sequence[int], padding: bool, factors: LengthFactors | None) -> list[list[int]]:
    """Sequences that are computed together, each batch beginning with its longest."""
    batches: list[list[int]] = []
    tokens = 0
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        own = lengths[row]
        if batches:
            width = lengths[batches[-1][0]]
            padded = width * (len(batches[-1]) + 1)
            fits = padded <= _BATCH and (
                own == width
                or (
                    padding
                    and (factors is None or factors.same(own, width))
                    and padded <= _PADDED * (tokens + own)
                )
            )
            if fits:
                batches[-1].append(row)
                tokens += own
                continue
        batches.append([row])
        tokens = own
    return batches


class Continuation:
    """Sequences of equal length that are continued together, one token of each at a time.

    Args:
        model: Any causal model.
        rows: Token ids of each sequence, equally many, at least one.
        caching: Whether the model's own cache is right; else all is computed again for each token.
        factors: How position factors depend on the length of a sequence; None where they do not.
    """

    def __init__(
        self, model: PreTrainedModel, rows: Sequence[Sequence[int]], *, caching: bool = True,
        factors: LengthFactors | None = None,
    ) -> None:  # fmt: skip
        self._model, self._caching, self._factors = model, caching, factors
        self._ids = torch.tensor([list(row) for row in rows], device=model.device)
        self._cache: dict[str, Any] = {}
        self.states: Float[Tensor, "rows d"] = self._read()
        """Hidden states of the sequences' last tokens."""

    def step(self, tokens: Sequence[int]) -> Float[Tensor, "rows d"]:
        """Append a token to each sequence; the hidden states of these tokens."""
        new = torch.tensor(list(tokens), device=self._ids.device)[:, None]
        self._ids = torch.cat([self._ids, new], dim=1)
        length = self._ids.shape[1]
        # Where the factors change, all keys change.
        changed = self._factors is not None and not self._factors.same(length - 1, length)
        if not self._cache or changed:
            self.states = self._read()
        else:
            self.states = self._run(new)
        return self.states

    def select(self, rows: Sequence[int]) -> None:
        """Keep these sequences, in this order; one may be given several times."""
        index = torch.tensor(list(rows), device=self._ids.device)
        self._ids, self.states = self._ids[index], self.states[index]
        for cache in self._cache.values():
            cache.reorder_cache(index)

    def ids(self, row: int) -> list[int]:
        """Token ids of a sequence."""
        return to_list(self._ids[row])

    def _read(self) -> Float[Tensor, "rows d"]:
        self._cache = {}
        length = self._ids.shape[1]
        if not self._caching or (self._factors is not None and not self._factors.same(length, length + 1)):
            return run_sequences(self._model, self._ids).last_hidden_state[:, -1]
        return self._run(self._ids)

    def _run(self, ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows d"]:
        trunk = trunk_of(self._model)
        output = trunk(input_ids=ids, use_cache=True, **self._cache)
        name = next((one for one in _CACHES if one in inspect.signature(trunk.forward).parameters), "")
        if name and (cache := getattr(output, name, None)) is not None:
            self._cache = {name: cache}
        return output.last_hidden_state[:, -1]
