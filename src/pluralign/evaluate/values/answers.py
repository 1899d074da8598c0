"""Pairs of outcomes to ask about, the answers in both orders, and whether the orders agree."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.core.digests import digest
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.evaluate.statistics import wilson
from pluralign.evaluate.values.choosers import Chooser, Pair

Asking = TypeVar("Asking", bound=tuple[str, ...])

# Questions that are asked and written at once.
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers about pairs of items.

    Args:
        pairs: Indices of the items of each pair, shape (pairs, 2).
        orders: Probability of preferring the first item, shape (pairs, 2): when it is listed first, and when
            it is listed second.
    """

    pairs: IntArray
    orders: FloatArray

    @property
    def prefer(self) -> FloatArray:
        """Mean over both orders, shape (pairs,)."""
        return self.orders.mean(axis=1)

    @property
    def agree(self) -> npt.NDArray[np.bool_]:
        """Whether both orders prefer the same item, or neither of the two, shape (pairs,)."""
        sides = np.sign(self.orders - 0.5)
        return sides[:, 0] == sides[:, 1]


@dataclass(frozen=True)
class Consistency:
    """Whether answers depend on the order in which outcomes are listed.

    Args:
        agreement: Share of pairs for which both orders give the same answer.
        low: Lower end of Wilson's 95 % interval.
        high: Upper end of it.
        first_place: Share of answers that name the outcome listed first; ties count half.
        pairs: Number of pairs with answers in both orders.
        unanswered: Number of pairs without them, which are left out.
        order_free: Whether the orders are equal by construction, so that agreement says nothing.
    """

    agreement: float
    low: float
    high: float
    first_place: float
    pairs: int
    unanswered: int
    order_free: bool

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def draw_pairs(items: int, pairs: int, triads: int, seed: int) -> tuple[IntArray, IntArray]:
    """Draw pairs of items to ask about, and triples whose pairs are among them.

    A random ring connects all items; random pairs and the pairs of random triples are added.

    Args:
        items: Number of items, at least 3.
        pairs: Number of pairs besides those of the triples; 0 is 2 N log2 N for N items.
        triads: Number of triples; all of them if there are no more.
        seed: Random seed.

    Returns:
        Pairs of shape (pairs, 2) and triples of shape (triads, 3); indices ascend within each row.
    """
    random = np.random.default_rng(seed)
    wanted = min(pairs or math.ceil(2 * items * math.log2(items)), items * (items - 1) // 2)
    if math.comb(items, 3) <= triads:
        i, j, k = np.indices((items,) * 3).reshape(3, -1)
        chosen = np.column_stack([i, j, k])[(i < j) & (j < k)]
    else:
        rows: dict[tuple[int, ...], None] = {}
        while len(rows) < triads:
            rows[tuple(sorted(random.choice(items, 3, replace=False).tolist()))] = None
        chosen = np.array(list(rows)).reshape(-1, 3)
    ring = random.permutation(items)
    first, second = np.triu_indices(items, 1)
    everything = np.column_stack([first, second])[random.permutation(len(first))]
    mixed = np.sort(np.concatenate([np.column_stack([ring, np.roll(ring, 1)]), everything]), axis=1)
    listed: list[tuple[int, int]] = [(a, b) for a, b in mixed.tolist()]
    kept = np.array(list(dict.fromkeys(listed))[:wanted])
    sides = np.concatenate([chosen[:, [0, 1]], chosen[:, [1, 2]], chosen[:, [0, 2]]])
    joined = np.unique(np.concatenate([kept, sides]), axis=0)
    return joined.astype(np.int64), chosen.astype(np.int64)


def ask(
    chooser: Chooser, texts: Sequence[str], pairs: IntArray, path: Path | None, made_of: Mapping[str, Any]
) -> Answers:
    """Ask about pairs in both orders; an interrupted run continues.

    Args:
        chooser: Rater, model or person that is asked.
        texts: Texts of the items.
        pairs: Indices of the items of each pair, shape (pairs, 2).
        path: JSON-lines file for the answers; None keeps none.
        made_of: Settings that the answers depend on.
    """
    places: list[list[int]] = pairs.tolist()
    asked: list[Pair] = [(texts[i], texts[j]) for i, j in places]

    def answered(batch: Sequence[Pair]) -> FloatArray:
        found = chooser.prefer(batch)
        if found.shape != (len(batch), 2) or ((found < 0) | (found > 1)).any():
            raise InputError(
                f"'{chooser.name}' must give two probabilities for each pair, found {found!r:.80}"
            )
        return found

    run = {"chooser": chooser.name, "settings": dict(chooser.settings), **made_of}
    return Answers(pairs, ask_batches(answered, asked, path, run))


def ask_batches(
    answer: Callable[[Sequence[Asking]], FloatArray],
    asked: Sequence[Asking],
    path: Path | None,
    run: Mapping[str, Any],
) -> FloatArray:
    """Ask questions batch by batch; an interrupted run continues, and a finished one asks nothing.

    Args:
        answer: Function from texts of questions to probabilities in both orders, shape (questions, 2).
        asked: Texts of the questions.
        path: JSON-lines file for the answers; None keeps none.
        run: Settings that the answers depend on.

    Returns:
        Probabilities in both orders, shape (questions, 2); NaN where there is no answer.
    """

    def rows(batch: Sequence[Asking]) -> list[dict[str, Any]]:
        return [
            {"texts": list(texts), "listed": _known(one), "exchanged": _known(other)}
            for texts, (one, other) in zip(batch, answer(batch).tolist(), strict=True)
        ]

    made_of = json.dumps({**run, "asked": asked}, sort_keys=True, default=str)
    header = {"made_of": digest([made_of.encode()])}
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "answers.jsonl" if path is None else path
        if not _is_whole(target, header, len(asked)):
            run_batches(
                target, header, asked, rows, batch=_BATCH, header=header, label="answers", unit="question"
            )
        found = [(row.row["listed"], row.row["exchanged"]) for row in islice(read_rows(target), 1, None)]
    return np.array([[math.nan if p is None else p for p in row] for row in found]).reshape(-1, 2)


def _is_whole(path: Path, header: Mapping[str, Any], rows: int) -> bool:
    """Whether a file has the answers to these questions already."""
    if not path.is_file():
        return False
    found = [fields.row for fields in read_rows(path)]
    return len(found) == rows + 1 and found[0] == header


def _known(probability: float) -> float | None:
    return None if math.isnan(probability) else probability


def split_answered(answers: Answers) -> tuple[Answers, int]:
    """Pairs with answers in both orders, and the number of the others."""
    whole = np.isfinite(answers.orders).all(axis=1)
    return Answers(answers.pairs[whole], answers.orders[whole]), int((~whole).sum())


def consistency(answers: Answers, unanswered: int, order_free: bool) -> Consistency:
    """Agreement between both orders.

    Raises:
        InputError: No pair has answers in both orders.
    """
    if not len(answers.pairs):
        raise InputError("no pair of outcomes has answers in both orders", field="who")
    hits = int(answers.agree.sum())
    first = np.sign(answers.orders[:, 0] - 0.5), np.sign(0.5 - answers.orders[:, 1])
    return Consistency(
        hits / len(answers.pairs),
        *wilson(hits, len(answers.pairs)),
        float(0.5 + 0.5 * np.mean(first)),
        len(answers.pairs),
        unanswered,
        order_free,
    )
