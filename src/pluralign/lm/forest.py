"""The token forest: many prompts with their branches in one row of tokens, each prompt computed once.

A tree is a prompt's tokens and several branches (options, completions, answers). Trees lie one after the
other in a single row, without padding; a token attends to its own tree's prompt and to its own branch only
(`lm.attention`), and its position is counted along its path. So each branch's hidden states are those of
the separate, unpadded sequence prompt + branch (float32: within 1e-5), whatever else shares the row.

Token boundary: prompt and branch are tokenised separately and their ids joined, so that all branches share
the prompt's ids; a merge across the boundary, which tokenising the joined text might make, is not made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.positions import LengthFactors

_log = logging.getLogger(__name__)
PROMPT = -1
# Branch tokens that attend together: more would compute many masked-out scores, fewer many small products.
_GROUP = 512
# Length of a prompt from which on it attends by itself: in one block with its branches it would need a mask.
_LONG = 1024


@dataclass(frozen=True)
class Tree:
    """One prompt with its branches, as token ids.

    Args:
        prompt_ids: Token ids of the prompt; may be empty: then nothing predicts the branches' first tokens.
        branches: Token ids of the branches, at least one each.
        keep_first: Prompt tokens (a BOS) that stay when the beginning of an over-long prompt is cut.
    """

    prompt_ids: Sequence[int]
    branches: Sequence[Sequence[int]]
    keep_first: int = 0


@dataclass(frozen=True, eq=False)
class AttentionBlock:
    """Consecutive tokens that attend together, after their prompt.

    Args:
        size: Number of tokens in the block.
        prompt: Number of the block whose keys come before this block's own; -1 for none.
        mask: True where a token (first axis) may see a key (second axis); None where the block's tokens are
            the last ones of a single path and see all that come before.
    """

    size: int
    prompt: int
    mask: Bool[Tensor, "size keys"] | None


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees laid out in one row. Branches are numbered in the order in which they were laid out.

    Args:
        input_ids: Token ids, shape (1, tokens).
        position_ids: Position of each token on its path, shape (1, tokens).
        tree_ids: Tree of each token, shape (tokens,).
        branch_ids: Branch of each token, -1 for prompts, shape (tokens,).
        places: Index of each branch token; a branch's are contiguous and in order, shape (branch tokens,).
        sources: Index of the token before it on its path, whose logits predict it; itself where there is
            none, shape (branch tokens,).
        predicted: Whether there is a token before it, shape (branch tokens,).
        ends: Index of each branch's last token, shape (branches,).
        lengths: Number of tokens of each branch, shape (branches,).
        owners: (tree, branch) of each branch in the caller's numbering, shape (branches, 2).
        blocks: Blocks of attention, in the row's order.
        spans: Start and end of each prompt and branch in the row, in order, and the number of its prompt's
            span (-1 for none); on the host.
        cut_tokens: Number of prompt tokens that were cut from the trees of this forest.
    """

    input_ids: Int[Tensor, "1 tokens"]
    position_ids: Int[Tensor, "1 tokens"]
    tree_ids: Int[Tensor, " tokens"]
    branch_ids: Int[Tensor, " tokens"]
    places: Int[Tensor, " branch_tokens"]
    sources: Int[Tensor, " branch_tokens"]
    predicted: Bool[Tensor, " branch_tokens"]
    ends: Int[Tensor, " branches"]
    lengths: Int[Tensor, " branches"]
    owners: Int[Tensor, "branches 2"]
    blocks: tuple[AttentionBlock, ...]
    spans: Int[np.ndarray, "spans 3"]
    cut_tokens: int = 0

    def to(self, device: torch.device | str) -> Forest:
        """The same forest on another device."""
        names = [f.name for f in fields(self) if f.name not in ("blocks", "spans", "cut_tokens")]
        moved = {name: getattr(self, name).to(device) for name in names}
        masks = [None if block.mask is None else block.mask.to(device) for block in self.blocks]
        blocks = tuple(replace(block, mask=mask) for block, mask in zip(self.blocks, masks, strict=True))
        return replace(self, **moved, blocks=blocks)

    @property
    def longest_path(self) -> int:
        """Number of tokens of the longest path."""
        lengths, prompt = self.spans[:, 1] - self.spans[:, 0], self.spans[:, 2]
        return int((lengths + np.where(prompt >= 0, lengths[prompt], 0)).max())

    @property
    def token_branches(self) -> Int[Tensor, " branch_tokens"]:
        """The branch of each branch token."""
        return self.branch_ids[self.places]


@dataclass(frozen=True)
class _Piece:
    tree: int
    prompt: list[int]
    branches: list[tuple[int, Sequence[int]]]
    cut: int

    @property
    def size(self) -> int:
        return len(self.prompt) + sum(len(ids) for _, ids in self.branches)


def plant(
    trees: Sequence[Tree], token_budget: int = 4096, *, max_path: int | None = None,
    factors: LengthFactors | None = None,
) -> list[Forest]:  # fmt: skip
    """Lay trees out in forests of at most ``token_budget`` tokens.

    A tree over the budget is split between its branches and its prompt computed once for each part. Where
    prompt + longest branch exceed ``max_path`` tokens, the **end** of the prompt is kept; what was cut is
    counted in `Forest.cut_tokens` and logged.

    Args:
        trees: Trees of tokens.
        token_budget: Largest number of tokens of one forest (a single longer path gets a forest of its own).
        max_path: Context of the model, in tokens; see `lm.trunk.context_length`.
        factors: How the model's position factors depend on the length of a path: branches share their prompt
            where their paths have the same factors.

    Returns:
        Forests; `by_tree` brings what was computed for their branches back in the trees' order.

    Raises:
        InputError: No branch, a branch without tokens, or a branch that fills the context.
    """
    pieces = [
        piece for i, tree in enumerate(trees) for piece in _pieces(i, tree, token_budget, max_path, factors)
    ]
    cut = {piece.tree: piece.cut for piece in pieces if piece.cut}
    if cut:
        _log.warning(
            "%d of %d prompts were longer than the context of %s tokens: %d tokens cut from their beginnings",
            len(cut), len(trees), max_path, sum(cut.values()),
        )  # fmt: skip
    groups: list[list[_Piece]] = []
    room = 0
    for piece in pieces:
        if piece.size > room:
            groups.append([])
            room = token_budget
        groups[-1].append(piece)
        room -= piece.size
    forests: list[Forest] = []
    counted: set[int] = set()
    for group in groups:
        fresh = {piece.tree for piece in group} - counted
        counted |= fresh
        forests.append(_lay_out(group, sum(cut.get(tree, 0) for tree in fresh)))
    return forests


def by_tree(trees: Sequence[Tree], forests: Sequence[Forest], values: Sequence[Tensor]) -> list[Tensor]:
    """Bring per-branch values back in order.

    Args:
        trees: Trees that were given to `plant`.
        forests: Forests that `plant` returned.
        values: Tensor of shape (branches, ...) for each forest.

    Returns:
        For each tree a tensor of shape (its branches, ...).
    """
    if not trees:
        return []
    starts = torch.tensor([0] + [len(tree.branches) for tree in trees]).cumsum(0)
    owners = torch.cat([forest.owners for forest in forests]).cpu()
    order = (starts[owners[:, 0]] + owners[:, 1]).argsort().to(values[0].device)
    return list(torch.split(torch.cat(list(values))[order], [len(tree.branches) for tree in trees]))


def _pieces(
    number: int, tree: Tree, budget: int, max_path: int | None, factors: LengthFactors | None
) -> list[_Piece]:
    if not tree.branches or not all(len(b) for b in tree.branches):
        raise InputError(f"prompt {number} needs at least one branch, each of at least one token")
    prompt, cut = list(tree.prompt_ids), 0
    longest = max(len(branch) for branch in tree.branches)
    if max_path is not None and len(prompt) + longest > max_path:
        room = max_path - longest - tree.keep_first
        if room < min(1, len(prompt)):
            raise InputError(
                f"a branch of prompt {number} has {longest} tokens, which leaves no room for the prompt in a "
                f"context of {max_path}"
            )
        cut = len(prompt) - tree.keep_first - room
        prompt = prompt[: tree.keep_first] + prompt[len(prompt) - room :]
    pieces = [_Piece(number, prompt, [], cut)]
    for i, branch in enumerate(tree.branches):
        apart = factors is not None and not all(
            factors.same(len(prompt) + len(branch), len(prompt) + len(known))
            for _, known in pieces[-1].branches
        )
        if pieces[-1].branches and (apart or pieces[-1].size + len(branch) > budget):
            pieces.append(_Piece(number, prompt, [], cut))
        pieces[-1].branches.append((i, branch))
    return pieces


def _lay_out(pieces: list[_Piece], cut: int) -> Forest:
    ids: list[int] = []
    positions: list[int] = []
    tree_ids: list[int] = []
    branch_ids: list[int] = []
    places: list[int] = []
    sources: list[int] = []
    ends: list[int] = []
    owners: list[tuple[int, int]] = []
    blocks: list[AttentionBlock] = []
    spans: list[tuple[int, int, int]] = []
    for number, piece in enumerate(pieces):
        start = len(ids)
        ids += piece.prompt
        positions += range(len(piece.prompt))
        branch_ids += [PROMPT] * len(piece.prompt)
        last = len(ids) - 1
        spans += [(start, len(ids), -1)] if piece.prompt else []
        prompt = len(spans) - 1 if piece.prompt else -1
        for i, branch in piece.branches:
            first, stop = len(ids), len(ids) + len(branch)
            ids += branch
            positions += range(len(piece.prompt), len(piece.prompt) + len(branch))
            branch_ids += [len(ends)] * len(branch)
            places += range(first, stop)
            sources += [last if piece.prompt else first, *range(first, stop - 1)]
            spans.append((first, stop, prompt))
            ends.append(stop - 1)
            owners.append((piece.tree, i))
        tree_ids += [number] * (len(ids) - start)
        blocks += _blocks(piece, len(blocks))
    place, source = torch.tensor(places), torch.tensor(sources)
    return Forest(
        torch.tensor([ids]), torch.tensor([positions]), torch.tensor(tree_ids), torch.tensor(branch_ids),
        place, source, place != source, torch.tensor(ends),
        torch.tensor([len(branch) for piece in pieces for _, branch in piece.branches]),
        torch.tensor(owners), tuple(blocks), np.array(spans), cut,
    )  # fmt: skip


def _blocks(piece: _Piece, number: int) -> list[AttentionBlock]:
    """The tree in one block; or, where its branches are many or its prompt is long, its prompt and groups of
    branches.

    Branches of one block see each other's keys and mask them out, which costs their length squared.
    """
    lengths = [len(branch) for _, branch in piece.branches]
    prompt = len(piece.prompt)
    if len(lengths) == 1 or (sum(lengths) <= _GROUP and prompt <= _LONG):
        return [AttentionBlock(piece.size, -1, _mask(prompt, lengths, prompt_attends=True))]
    blocks = [AttentionBlock(prompt, -1, None)] if prompt else []
    groups: list[list[int]] = [[]]
    for length in lengths:
        if groups[-1] and sum(groups[-1]) + length > _GROUP:
            groups.append([])
        groups[-1].append(length)
    before = number if prompt else -1
    return blocks + [AttentionBlock(sum(group), before, _mask(prompt, group)) for group in groups]


def _mask(prompt: int, branches: Sequence[int], prompt_attends: bool = False) -> Tensor | None:
    """Which keys a block's tokens see; None for a single path."""
    if len(branches) == 1:
        return None
    owner = torch.cat(
        [torch.full((prompt,), PROMPT)] + [torch.full((length,), i) for i, length in enumerate(branches)]
    )
    queries = owner if prompt_attends else owner[prompt:]
    seen = (owner[None, :] == PROMPT) | (owner[None, :] == queries[:, None])
    return seen & torch.ones(seen.shape, dtype=torch.bool).tril(len(owner) - len(queries))
