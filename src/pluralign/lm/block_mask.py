"""Masks of forests for FlexAttention, made from the boundaries of trees, without a dense mask of tokens."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from pluralign.lm.forest import PROMPT, Forest
from pluralign.lm.pattern import within

_Numbers = Int[np.ndarray, " _"]


def forest_block_mask(forest: Forest, window: int | None, chunk: int | None, size: int = 128) -> BlockMask:
    """The mask that `create_block_mask` would make of a forest, in memory of (tokens / size)^2.

    Args:
        forest: Forest on the device of the mask.
        window: Number of latest tokens of its path that a token sees; None for all.
        chunk: Number of tokens of a chunk of a path; None for no chunks.
        size: Number of tokens of a block.
    """
    tokens, positions = forest.input_ids.shape[1], forest.position_ids[0]

    # Without shapes in its annotations, as `within`.
    def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_tree = forest.tree_ids[query] == forest.tree_ids[key]
        of_branch = forest.branch_ids[key]
        on_path = (of_branch == PROMPT) | (of_branch == forest.branch_ids[query])
        near = within(positions[query], positions[key], window, chunk)
        return same_tree & on_path & (key <= query) & near

    some, whole = visible_blocks(forest.spans, window, chunk, size)
    partial, full = (
        _ordered(torch.as_tensor(blocks).to(positions.device)) for blocks in (some & ~whole, whole)
    )
    return BlockMask.from_kv_blocks(
        *partial, *full, BLOCK_SIZE=size, mask_mod=seen, seq_lengths=(tokens, tokens)
    )


def visible_blocks(
    spans: Int[np.ndarray, "spans 3"], window: int | None, chunk: int | None, size: int
) -> tuple[Bool[np.ndarray, "blocks blocks"], Bool[np.ndarray, "blocks blocks"]]:
    """Blocks of keys of which each block of queries sees some tokens, and those of which it sees all.

    Spans are cut where blocks begin. The positions of a piece of a span on its path are consecutive, so
    whether its tokens see some or all of another piece follows from the first and last positions of both.

    Args:
        spans: See `Forest.spans`.
        window: See `forest_block_mask`.
        chunk: See `forest_block_mask`.
        size: Number of tokens of a block.
    """
    blocks = -(-int(spans[-1, 1]) // size)
    some = np.zeros((blocks, blocks), dtype=np.bool_)
    pairs = np.zeros((blocks, blocks), dtype=np.int64)
    start, stop, prompt = spans.T
    base = np.where(prompt >= 0, (stop - start)[prompt], 0)
    counts = (stop - 1) // size - start // size + 1
    firsts = counts.cumsum() - counts
    span = np.repeat(np.arange(len(spans)), counts)
    block = _ranges(start // size, counts)
    begin, end = np.maximum(start[span], block * size), np.minimum(stop[span], (block + 1) * size)
    # First and last position of each piece on its path.
    low = base[span] + begin - start[span]
    high = low + end - begin - 1

    def note(query: _Numbers, lowest: _Numbers, highest: _Numbers, tokens: _Numbers, key: _Numbers) -> None:
        any_seen, all_seen = low[key] <= highest, high[key] <= lowest
        if window is not None:
            any_seen &= lowest - high[key] < window
            all_seen &= highest - low[key] < window
        if chunk is not None:
            any_seen &= (lowest // chunk <= high[key] // chunk) & (low[key] // chunk <= highest // chunk)
            all_seen &= highest // chunk == low[key] // chunk
        some[query[any_seen], block[key[any_seen]]] = True
        area = tokens * (end - begin)[key]
        np.add.at(pairs, (query[all_seen], block[key[all_seen]]), area[all_seen])

    # Each piece and the earlier ones of its span.
    earlier = np.arange(len(span)) - firsts[span] + 1
    query = np.repeat(np.arange(len(span)), earlier)
    note(block[query], low[query], high[query], (end - begin)[query], _ranges(firsts[span], earlier))
    # The branches of a tree in one block, and the pieces of their prompt.
    own = np.flatnonzero(prompt[span] >= 0)
    if len(own):
        tree, place = np.unique(prompt[span[own]] * blocks + block[own], return_inverse=True)
        lowest, highest, tokens = (np.full(len(tree), first) for first in (np.iinfo(np.int64).max, 0, 0))
        np.minimum.at(lowest, place, low[own])
        np.maximum.at(highest, place, high[own])
        np.add.at(tokens, place, (end - begin)[own])
        query = np.repeat(np.arange(len(tree)), counts[tree // blocks])
        keys = _ranges(firsts[tree // blocks], counts[tree // blocks])
        note((tree % blocks)[query], lowest[query], highest[query], tokens[query], keys)
    return some, pairs == size * size


def _ranges(firsts: _Numbers, counts: _Numbers) -> _Numbers:
    """Ranges of consecutive numbers, one after the other."""
    return np.repeat(firsts - (counts.cumsum() - counts), counts) + np.arange(int(counts.sum()))


def _ordered(blocks: Bool[Tensor, "rows columns"]) -> tuple[Tensor, Tensor]:
    """Number of blocks of each row, and the columns with those of the row first."""
    numbers = blocks.to(torch.int32)
    order = numbers.argsort(dim=-1, descending=True, stable=True)
    return numbers.sum(-1, dtype=torch.int32)[None, None], order.to(torch.int32)[None, None]
