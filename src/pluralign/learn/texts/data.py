"""Preference pairs and demonstrations as trees of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from types import UnionType
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.core.digests import digest
from pluralign.data.examples import RankedCompletions
from pluralign.lm.completion_trees import CompletionReader, CompletionTrees
from pluralign.lm.forest import Forest, Tree, plant
from pluralign.lm.prompts import quoted_completion, quoted_prompt
from pluralign.lm.tensors import to_list

Row = TypeVar("Row", bound=PreferencePair | Demonstration | RankedCompletions)


class IdenticalPairs(InputError):
    """All pairs have identical completions after truncation, so nothing is left."""


@dataclass(frozen=True, eq=False)
class CompletionData:
    """Rows of completions: a pair has two (chosen, rejected), a demonstration one.

    Args:
        trees: Trees of all rows, in order.
        rows: Trees of each row.
        places: Index (tree, branch) of each completion, shape (rows, completions, 2).
        weights: Probability that a pair's label is right; ones for demonstrations, shape (rows,).
        margins: Margin of each pair; zeros for demonstrations, shape (rows,).
        counts: Numbers of rows read, left out and truncated.
        kept: Index of each row among the given rows.
    """

    trees: list[Tree]
    rows: list[range]
    places: Int[Tensor, "rows completions 2"]
    weights: Float[Tensor, " rows"]
    margins: Float[Tensor, " rows"]
    counts: dict[str, int]
    kept: list[int]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def completion_tokens(self) -> int:
        """Number of tokens of all completions."""
        own = (self.trees[i] for trees in self.rows for i in trees)
        return sum(len(branch) for tree in own for branch in tree.branches)

    @property
    def lengths(self) -> Int[Tensor, "rows completions"]:
        """Number of tokens of each completion, including the end-of-text token."""
        places: list[list[tuple[int, int]]] = to_list(self.places)
        return torch.tensor([[len(self.trees[t].branches[b]) for t, b in row] for row in places])

    def size(self, row: int) -> int:
        """Number of tokens of one row's trees."""
        return sum(_tokens(self.trees[i]) for i in self.rows[row])

    def select(self, rows: Sequence[int]) -> CompletionData:
        """Some of the rows, with the same trees."""
        numbers = torch.tensor(rows, dtype=torch.long)
        return replace(
            self, rows=[self.rows[i] for i in rows], places=self.places[numbers],
            weights=self.weights[numbers], margins=self.margins[numbers], kept=[self.kept[i] for i in rows],
        )  # fmt: skip

    def digest(self) -> str:
        """Digest of the token ids and weights, equal across processes."""

        def parts() -> Iterator[bytes]:
            for tree in self.trees:
                yield repr((list(tree.prompt_ids), [list(b) for b in tree.branches])).encode()
            for column in (self.places, self.weights, self.margins):
                yield column.numpy().tobytes()

        return digest(parts())


@dataclass(frozen=True, eq=False)
class Batch:
    """Several rows of the data in one forest.

    Args:
        forest: Forest of the rows' trees.
        trees: Trees of the forest, in its order.
        rows: Indices of the rows in the data, shape (rows,).
        branches: Branch of each completion in the forest, shape (rows, completions).
        weights: See `CompletionData`, shape (rows,).
        margins: See `CompletionData`, shape (rows,).
        share: Share of this forest's rows among those of the step.
    """

    forest: Forest
    trees: list[Tree]
    rows: Int[Tensor, " rows"]
    branches: Int[Tensor, "rows completions"]
    weights: Float[Tensor, " rows"]
    margins: Float[Tensor, " rows"]
    share: float

    def rows_of_branches(self) -> list[int]:
        """The row of each branch, in the forest's order, for rows of one completion."""
        return to_list(self.rows[self.branches[:, 0].to(self.rows.device).argsort()])


def encode_completion_pairs(
    pairs: Sequence[PreferencePair], reader: CompletionReader, *, identical: bool = False,
    several: bool = False,
) -> CompletionData:  # fmt: skip
    """One-step pairs as trees: a single tree if chosen and rejected have the same prompt, else two.

    Pairs whose completions are identical after truncation are left out and counted (``identical_pairs``).

    Args:
        pairs: One-step pairs of one objective.
        reader: Reader of the model's texts.
        identical: Whether to keep identical pairs, for losses of unpaired completions.
        several: Whether the pairs may have several objectives, which the loss distinguishes.

    Raises:
        IdenticalPairs: All pairs are identical.
        InputError: There are no pairs, they have several objectives, or a pair has several steps.
    """
    objectives = sorted({pair.objective for pair in pairs})
    if len(objectives) > 1 and not several:
        raise InputError(f"pairs of one objective are expected, found {', '.join(objectives)}")
    read = [_read_pair(number, pair, reader) for number, pair in enumerate(pairs, start=1)]
    kept = [number for number, one in enumerate(read) if identical or len(set(one.paths)) == 2]
    if read and not kept:
        raise IdenticalPairs(
            f"in all {len(read)} pairs the completions are identical within {reader.max_length} tokens",
            field="max_length",
        )
    labels = [(pairs[number].weight, pairs[number].margin) for number in kept]
    counts = {"pairs": len(kept), "identical_pairs": len(read) - len(kept)}
    return completion_table([read[number] for number in kept], labels, reader, counts, kept)


def encode_demonstrations(
    rows: Sequence[PreferencePair | Demonstration], reader: CompletionReader
) -> CompletionData:
    """Demonstrations as trees; for one-step pairs, their chosen completions."""
    texts = [
        (row.prompt, row.completion) if isinstance(row, Demonstration) else row.chosen.text(row=number)
        for number, row in enumerate(rows, start=1)
    ]
    read = [reader.read(prompt, [text]) for prompt, text in texts]
    counts, kept = {"demonstrations": len(read)}, list(range(len(read)))
    return completion_table(read, [(1.0, 0.0)] * len(read), reader, counts, kept)


def batches(data: CompletionData, rows: Sequence[int], token_budget: int) -> Iterator[Batch]:
    """The rows in forests of at most ``token_budget`` tokens; a longer row gets a forest of its own. A row's
    trees stay together, so that sums over forests equal the result of a single forest."""
    for group in _groups(data, rows, token_budget):
        numbers = [tree for row in group for tree in data.rows[row]]
        trees = [data.trees[i] for i in numbers]
        (forest,) = plant(trees, sum(map(_tokens, trees)))
        place = {tuple(owner): i for i, owner in enumerate(to_list(forest.owners))}
        # By occurrence: a step that begins another epoch may have a row twice.
        sizes = [len(data.rows[row]) for row in group]
        starts = [end - size for end, size in zip(accumulate(sizes), sizes, strict=True)]
        branches = [
            [place[start + tree - data.rows[row].start, branch] for tree, branch in to_list(data.places[row])]
            for row, start in zip(group, starts, strict=True)
        ]
        chosen = torch.tensor(group)
        yield Batch(
            forest, trees, chosen, torch.tensor(branches), data.weights[chosen], data.margins[chosen],
            len(group) / len(rows),
        )  # fmt: skip


def _groups(data: CompletionData, rows: Sequence[int], budget: int) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0
    for row in rows:
        size = data.size(row)
        if not groups or size > room:
            groups.append([])
            room = budget
        groups[-1].append(row)
        room -= size
    return groups


def _read_pair(number: int, pair: PreferencePair, reader: CompletionReader) -> CompletionTrees:
    (prompt, chosen), (other, rejected) = pair.texts(row=number)
    if prompt == other:
        return reader.read(prompt, [chosen, rejected])
    first, second = reader.read(prompt, [chosen]), reader.read(other, [rejected])
    return CompletionTrees((*first.trees, *second.trees), ((0, 0), (1, 0)))


def completion_table(
    read: Sequence[CompletionTrees],
    labels: Sequence[tuple[float, float]],
    reader: CompletionReader,
    counts: dict[str, Any],
    kept: list[int],
) -> CompletionData:
    """The data of rows that were read.

    Args:
        read: Trees of each row.
        labels: Weight and margin of each row (`CompletionData`).
        reader: Reader that read them, for its counts.
        counts: Further counts.
        kept: Index of each row among the given rows.

    Raises:
        InputError: There are no rows.
    """
    if not read:
        raise InputError("there is nothing to learn from")
    trees: list[Tree] = []
    rows: list[range] = []
    places: list[list[tuple[int, int]]] = []
    for one in read:
        start = len(trees)
        trees += one.trees
        rows.append(range(start, len(trees)))
        places.append([(start + tree, branch) for tree, branch in one.places])
    columns = torch.tensor(labels, dtype=torch.float32)
    return CompletionData(
        trees, rows, torch.tensor(places), columns[:, 0].contiguous(), columns[:, 1].contiguous(),
        {**counts, **reader.counts}, kept,
    )  # fmt: skip


def _tokens(tree: Tree) -> int:
    return len(tree.prompt_ids) + sum(map(len, tree.branches))


def require_demonstrations(rows: Sequence[Demonstration]) -> None:
    """Refuse rows of another kind.

    Raises:
        InputError: A row is no demonstration.
    """
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Demonstration):
            raise InputError(
                f"expected a demonstration, as load_demonstrations reads it, found {row!r:.60}", row=number
            )


def quoted_demonstrations(
    rows: Sequence[Demonstration], tokenizer: PreTrainedTokenizerBase
) -> list[Demonstration]:
    """Demonstrations of texts without a template, the names of control tokens in them quoted."""
    return [
        replace(
            row,
            prompt=quoted_prompt(tokenizer, row.prompt),
            completion=quoted_completion(tokenizer, row.completion),
        )
        for row in rows
    ]


def split_rows(
    rows: Iterable[Row], path: str | None = None, kind: type | UnionType = PreferencePair | Demonstration
) -> tuple[list[Row], list[Row]]:
    """Rows for training and rows for validation; the split ``test`` is not used.

    Args:
        rows: All rows.
        path: File of the rows, for error messages.
        kind: Type of the rows.

    Raises:
        InputError: There are no rows for training.
    """
    known = list(rows)
    for number, row in enumerate(known, start=1):
        if not isinstance(row, kind):
            raise InputError(
                "expected a pair or demonstration, as load_pairs and load_demonstrations read it, found "
                f"{row!r:.60}",
                row=number,
            )
    train = [row for row in known if row.split == "train"]
    if not train:
        raise InputError("there is no training pair to learn from", path=path)
    return train, [row for row in known if row.split == "validation"]
