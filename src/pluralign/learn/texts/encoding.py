"""Training rows of any kind as trees of tokens, and what some methods cannot learn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.data.examples import RankedCompletions
from pluralign.learn.texts.data import (
    CompletionData,
    IdenticalPairs,
    completion_table,
    encode_completion_pairs,
    encode_demonstrations,
)
from pluralign.lm.completion_trees import CompletionReader


def encode_rows(
    rows: Sequence[PreferencePair | Demonstration | RankedCompletions], reader: CompletionReader, *,
    single: bool = False, identical: bool = False, several: bool = False,
) -> CompletionData:  # fmt: skip
    """Preference pairs or ranked lists with all their completions, or demonstrations, as trees.

    Args:
        rows: Rows of one kind.
        reader: Reader of the model's texts.
        single: Whether to read one completion of each row: of pairs, the chosen one.
        identical: See `encode_completion_pairs`.
        several: See `encode_completion_pairs`.
    """
    lists = [row for row in rows if isinstance(row, RankedCompletions)]
    if lists:
        return encode_lists(lists, reader)
    pairs = [row for row in rows if isinstance(row, PreferencePair)]
    if pairs and not single:
        return encode_completion_pairs(pairs, reader, identical=identical, several=several)
    return encode_demonstrations([row for row in rows if not isinstance(row, RankedCompletions)], reader)


def encode_lists(rows: Sequence[RankedCompletions], reader: CompletionReader) -> CompletionData:
    """Ranked lists as trees: a single tree for each, unless a completion needs a shorter prompt.

    Lists whose completions are all identical after truncation are left out and counted
    (``identical_lists``).

    Args:
        rows: Lists of one length.
        reader: Reader of the model's texts.

    Raises:
        IdenticalPairs: All lists have identical completions only.
        InputError: There are no lists, or they have several lengths.
    """
    sizes = sorted({len(row.completions) for row in rows})
    if len(sizes) > 1:
        raise InputError(f"expected lists of one length, found {sizes[0]} and {sizes[-1]} completions")
    read = [reader.read(row.prompt, row.completions) for row in rows]
    kept = [number for number, one in enumerate(read) if len(set(one.paths)) > 1]
    if read and not kept:
        raise IdenticalPairs(
            f"in all {len(read)} lists the completions are identical within {reader.max_length} tokens",
            field="max_length",
        )
    counts = {"lists": len(kept), "identical_lists": len(read) - len(kept)}
    return completion_table([read[i] for i in kept], [(1.0, 0.0)] * len(kept), reader, counts, kept)


def require_certain(rows: Iterable[PreferencePair | Demonstration | RankedCompletions], method: str) -> None:
    """Refuse pairs whose labels may be wrong, for methods that do not apply their weights.

    Args:
        rows: Rows to learn from.
        method: Name of the method.

    Raises:
        InputError: A pair has a weight below 1.
    """
    if any(isinstance(row, PreferencePair) and row.weight < 1 for row in rows):
        raise InputError(
            f"{method} does not support uncertain labels, and some pairs have a weight below 1 (ties, "
            "disagreement, siblings); dpo and bradley-terry apply such weights",
            field="weight",
        )
