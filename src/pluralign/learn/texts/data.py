"""Preference pairs and demonstrations as trees of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.core.digests import digest
from pluralign.lm.completion_trees import CompletionReader, CompletionTrees
from pluralign.lm.forest import Forest, Tree, plant

Row = TypeVar("Row", bound=PreferencePair | Demonstration)


class IdenticalPairs(InputError):
    """All pairs have completions that are identical when read, so that nothing is left."""


@dataclass(frozen=True, eq=False)
class CompletionData:
    """Rows of completions: pairs have two (chosen, rejected), demonstrations one.

    Args:
        trees: of every row, one after the other.
        rows: the trees of each row.
        places: (tree, branch) of each completion, shape (rows, completions, 2).
        weights: probability that a pair's label is right; ones for demonstrations, shape (rows,).
        margins: by how much the chosen completion is better; zeros for demonstrations, shape (rows,).
        counts: what was read, left out and cut.
        kept: number of each row among those that were given.
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
        """Tokens of all completions."""
        return sum(len(branch) for tree in self.trees for branch in tree.branches)

    @property
    def lengths(self) -> Int[Tensor, "rows completions"]:
        """Tokens of each completion, the end-of-text token included."""
        return torch.tensor(
            [[len(self.trees[t].branches[b]) for t, b in row] for row in self.places.tolist()]
        )

    def size(self, row: int) -> int:
        """Tokens of one row's trees."""
        return sum(_tokens(self.trees[i]) for i in self.rows[row])

    def digest(self) -> str:
        """Of the token ids and weights, equal across processes."""

        def parts() -> Iterator[bytes]:
            for tree in self.trees:
                yield repr((list(tree.prompt_ids), [list(b) for b in tree.branches])).encode()
            for column in (self.places, self.weights, self.margins):
                yield column.numpy().tobytes()

        return digest(parts())


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of the data in one forest.

    Args:
        forest: their trees, laid out.
        trees: of the forest, in its order.
        rows: their numbers in the data, shape (rows,).
        branches: the forest's branch of each completion, shape (rows, completions).
        weights: see `CompletionData`, shape (rows,).
        margins: see `CompletionData`, shape (rows,).
        share: rows of this forest among those of the step.
    """

    forest: Forest
    trees: list[Tree]
    rows: Int[Tensor, " rows"]
    branches: Int[Tensor, "rows completions"]
    weights: Float[Tensor, " rows"]
    margins: Float[Tensor, " rows"]
    share: float


def encode_completion_pairs(
    pairs: Sequence[PreferencePair], reader: CompletionReader, *, identical: bool = False
) -> CompletionData:
    """One-step pairs as trees: one tree where chosen and rejected answer one prompt, else two.

    Pairs whose completions are identical when read, because what differs was cut, are left out and counted
    (``identical_pairs``).

    Args:
        pairs: One-step pairs of one objective.
        reader: Reader of the model's texts.
        identical: Keep identical pairs, for losses of unpaired completions.

    Raises:
        IdenticalPairs: all are.
        InputError: there are none, they are of several objectives, or have several steps.
    """
    objectives = sorted({pair.objective for pair in pairs})
    if len(objectives) > 1:
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
    return _table([read[number] for number in kept], labels, reader, counts, kept)


def encode_demonstrations(
    rows: Sequence[PreferencePair | Demonstration], reader: CompletionReader
) -> CompletionData:
    """Demonstrations as trees; of one-step pairs, the chosen half."""
    texts = [
        (row.prompt, row.completion) if isinstance(row, Demonstration) else row.chosen.text(row=number)
        for number, row in enumerate(rows, start=1)
    ]
    read = [reader.read(prompt, [text]) for prompt, text in texts]
    counts, kept = {"demonstrations": len(read)}, list(range(len(read)))
    return _table(read, [(1.0, 0.0)] * len(read), reader, counts, kept)


def batches(data: CompletionData, rows: Sequence[int], token_budget: int) -> Iterator[Batch]:
    """The rows in forests of at most so many tokens (a single longer row gets its own); a row's trees stay
    together, so that what is computed for each forest adds up to what one forest would give."""
    for group in _groups(data, rows, token_budget):
        numbers = [tree for row in group for tree in data.rows[row]]
        trees = [data.trees[i] for i in numbers]
        (forest,) = plant(trees, sum(map(_tokens, trees)))
        place = {tuple(owner): i for i, owner in enumerate(forest.owners.tolist())}
        local = {number: i for i, number in enumerate(numbers)}
        branches = [
            [place[local[tree], branch] for tree, branch in data.places[row].tolist()] for row in group
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


def _table(
    read: Sequence[CompletionTrees],
    labels: Sequence[tuple[float, float]],
    reader: CompletionReader,
    counts: dict[str, Any],
    kept: list[int],
) -> CompletionData:
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


def split_rows(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Those to learn from and those to validate on; ``test`` is not touched.

    Raises:
        InputError: none to learn from.
    """
    known = list(rows)
    train = [row for row in known if row.split == "train"]
    if not train:
        raise InputError("there is no training pair to learn from")
    return train, [row for row in known if row.split == "validation"]
