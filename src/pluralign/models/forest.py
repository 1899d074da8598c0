"""The token forest: many prompts with their branches in a few rows, each prompt computed once.

A tree is a prompt's tokens and several branches (options, completions, answers). Trees are laid out one
after the other in the rows of a batch; a token attends to its own tree's prompt and to its own branch only,
and its position is counted along its path. So each branch's hidden states are those of the separate,
unpadded sequence prompt + branch (float32: within 1e-5), whatever else shares the batch.

Token boundary: prompt and branch are tokenised separately and their ids joined, so that all branches share
the prompt's ids; a merge across the boundary, which tokenising the joined text might make, is not made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError

_log = logging.getLogger(__name__)
_LOOKAHEAD = 256
PADDING, PROMPT = -2, -1


@dataclass(frozen=True)
class Tree:
    """One prompt with its branches, as token ids.

    Args:
        prompt_ids: at least one token.
        branches: each at least one token.
        keep_first: prompt tokens (a BOS) that stay when the beginning of an over-long prompt is cut.
    """

    prompt_ids: Sequence[int]
    branches: Sequence[Sequence[int]]
    keep_first: int = 0


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid out in one batch. Branches are numbered in the order in which they were laid out.

    Args:
        input_ids: shape (rows, length).
        position_ids: counted along each token's path, shape (rows, length).
        tree_ids: the tree of each token, -2 for padding, shape (rows, length).
        branch_ids: the branch of each token, -1 for prompts, -2 for padding, shape (rows, length).
        places: flat index of each branch token, shape (tokens,).
        sources: flat index of the token before it on its path, whose logits predict it, shape (tokens,).
        ends: flat index of each branch's last token, shape (branches,).
        lengths: tokens of each branch, shape (branches,).
        owners: (tree, branch) of each branch in the caller's numbering, shape (branches, 2).
        cut_tokens: prompt tokens that were cut from the trees of this forest.
    """

    input_ids: Int[Tensor, "rows length"]
    position_ids: Int[Tensor, "rows length"]
    tree_ids: Int[Tensor, "rows length"]
    branch_ids: Int[Tensor, "rows length"]
    places: Int[Tensor, " tokens"]
    sources: Int[Tensor, " tokens"]
    ends: Int[Tensor, " branches"]
    lengths: Int[Tensor, " branches"]
    owners: Int[Tensor, "branches 2"]
    cut_tokens: int = 0

    def to(self, device: torch.device | str) -> Forest:
        """The same forest on another device."""
        names = [f.name for f in fields(self) if f.name != "cut_tokens"]
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def attention_mask(self, dtype: torch.dtype) -> Float[Tensor, "rows 1 length length"]:
        """Additive mask: 0 where a query (second to last axis) may see a key (last axis)."""
        length = self.input_ids.shape[1]
        key_branch = self.branch_ids[:, None, :]
        seen = (self.tree_ids[:, :, None] == self.tree_ids[:, None, :]) & (
            (key_branch == PROMPT) | (key_branch == self.branch_ids[:, :, None])
        )
        # A padding token sees the padding before it and itself: a row with nothing to see would be NaN.
        seen &= torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True)
class _Piece:
    tree: int
    prompt: list[int]
    branches: list[tuple[int, Sequence[int]]]
    cut: int

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(len(ids) for _, ids in self.branches)


def plant(trees: Sequence[Tree], token_budget: int = 4096, *, max_path: int | None = None) -> list[Forest]:
    """Lay trees out in batches of at most ``token_budget`` tokens, padding counted.

    A tree over the budget is split between its branches and its prompt computed once for each part. Where
    prompt + longest branch exceed ``max_path`` tokens, the **end** of the prompt is kept; what was cut is
    counted in `Forest.cut_tokens` and logged.

    Args:
        trees: the trees.
        token_budget: rows x length of one forest (a single longer path gets a forest of its own).
        max_path: the model's context, tokens; see `models.trunk.context_length`.

    Returns:
        Forests; `by_tree` brings what was computed for their branches back in the trees' order.

    Raises:
        InputError: a prompt or a branch without tokens, or a branch that fills the context.
    """
    pieces = [piece for i, tree in enumerate(trees) for piece in _pieces(i, tree, token_budget, max_path)]
    cut = {piece.tree: piece.cut for piece in pieces if piece.cut}
    if cut:
        _log.warning(
            "%d of %d prompts were longer than the context of %s tokens: %d tokens cut from their beginnings",
            len(cut), len(trees), max_path, sum(cut.values()),
        )  # fmt: skip
    pieces.sort(key=lambda piece: -piece.size)
    forests: list[Forest] = []
    counted: set[int] = set()
    while pieces:
        length = pieces[0].size
        rows, pieces = _fill_rows(pieces, length, max(1, token_budget // length))
        fresh = {piece.tree for row in rows for piece in row} - counted
        counted |= fresh
        forests.append(_lay_out(rows, length, sum(cut.get(tree, 0) for tree in fresh)))
    return forests


def by_tree(trees: Sequence[Tree], forests: Sequence[Forest], values: Sequence[Tensor]) -> list[Tensor]:
    """Bring per-branch values back in order.

    Args:
        trees: as given to `plant`.
        forests: what it returned.
        values: for each forest a tensor of shape (branches, ...).

    Returns:
        For each tree a tensor of shape (its branches, ...).
    """
    if not trees:
        return []
    starts = torch.tensor([0] + [len(tree.branches) for tree in trees]).cumsum(0)
    owners = torch.cat([forest.owners for forest in forests]).cpu()
    order = (starts[owners[:, 0]] + owners[:, 1]).argsort().to(values[0].device)
    return list(torch.cat(list(values))[order].split([len(tree.branches) for tree in trees]))


def _pieces(number: int, tree: Tree, budget: int, max_path: int | None) -> list[_Piece]:
    if not len(tree.prompt_ids) or not tree.branches or not all(len(b) for b in tree.branches):
        raise InputError(f"prompt {number} needs a token, and a branch or more of a token or more each")
    prompt, cut = list(tree.prompt_ids), 0
    longest = max(len(branch) for branch in tree.branches)
    if max_path is not None and len(prompt) + longest > max_path:
        room = max_path - longest - tree.keep_first
        if room < 1:
            raise InputError(
                f"a branch of prompt {number} has {longest} tokens, which leaves no room for the prompt in a "
                f"context of {max_path}"
            )
        cut = len(prompt) - tree.keep_first - room
        prompt = prompt[: tree.keep_first] + prompt[len(prompt) - room :]
    pieces = [_Piece(number, prompt, [], cut)]
    for i, branch in enumerate(tree.branches):
        if pieces[-1].branches and pieces[-1].size + len(branch) > budget:
            pieces.append(_Piece(number, prompt, [], cut))
        pieces[-1].branches.append((i, branch))
    return pieces


def _fill_rows(pieces: list[_Piece], length: int, most: int) -> tuple[list[list[_Piece]], list[_Piece]]:
    """First fit, longest first, looking at the next few pieces only: beyond these, all are alike."""
    rows: list[list[_Piece]] = []
    free: list[int] = []
    left: list[_Piece] = []
    for piece in pieces[:_LOOKAHEAD]:
        row = next((r for r, room in enumerate(free) if room >= piece.size), None)
        if row is None and len(rows) < most:
            row = len(rows)
            rows.append([])
            free.append(length)
        if row is None:
            left.append(piece)
        else:
            rows[row].append(piece)
            free[row] -= piece.size
    return rows, left + pieces[_LOOKAHEAD:]


def _lay_out(rows: list[list[_Piece]], length: int, cut: int) -> Forest:
    grids = {
        name: torch.full((len(rows), length), fill, dtype=torch.long)
        for name, fill in {"input": 0, "position": 0, "tree": PADDING, "branch": PADDING}.items()
    }
    places: list[int] = []
    sources: list[int] = []
    ends: list[int] = []
    lengths: list[int] = []
    owners: list[tuple[int, int]] = []
    tree_number = 0

    def put(row: int, at: int, ids: Sequence[int], position: int, branch: int) -> None:
        stop = at + len(ids)
        grids["input"][row, at:stop] = torch.tensor(ids)
        grids["position"][row, at:stop] = torch.arange(position, position + len(ids))
        grids["tree"][row, at:stop] = tree_number
        grids["branch"][row, at:stop] = branch

    for r, row in enumerate(rows):
        at = 0
        for piece in row:
            put(r, at, piece.prompt, 0, PROMPT)
            at += len(piece.prompt)
            last = r * length + at - 1
            for i, ids in piece.branches:
                put(r, at, ids, len(piece.prompt), len(ends))
                first = r * length + at
                places += range(first, first + len(ids))
                sources += [last, *range(first, first + len(ids) - 1)]
                at += len(ids)
                ends.append(first + len(ids) - 1)
                lengths.append(len(ids))
                owners.append((piece.tree, i))
            tree_number += 1
    return Forest(
        grids["input"], grids["position"], grids["tree"], grids["branch"],
        *(torch.tensor(values) for values in (places, sources, ends, lengths, owners)),
        cut_tokens=cut,
    )  # fmt: skip
