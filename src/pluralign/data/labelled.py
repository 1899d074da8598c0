"""Preference pairs from labelled texts: behaviours that fit a value, situations that support it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pluralign.core import Examples, InputError, PreferencePair
from pluralign.core.splits import SHARES, SPLITS, Split, check_shares, split_names, split_of
from pluralign.data.cells import cell_of, plain
from pluralign.data.source import Data, Table, objective_of, open_table
from pluralign.data.text_pairs import TextPair, one_step_pair


@dataclass(frozen=True)
class LabelColumns:
    """Columns of texts with labels.

    Args:
        text: Column of the text.
        label: Column of the label.
        good: Labels of texts that fit the value, in capitals or not.
        bad: Labels of texts that do not; rows with other labels are left out and counted.
        value: Column of the value's name; without it, all rows are about one value.
        group: Column whose equal cells belong together: a behaviour and its counterpart. Without it, texts
            are paired in the order of the rows.
        prompt: Column of a prompt that the text answers.
    """

    text: str
    label: str
    good: tuple[str, ...] = ("1", "true", "yes")
    bad: tuple[str, ...] = ("0", "false", "no")
    value: str = ""
    group: str = ""
    prompt: str = ""


def load_labelled_pairs(
    data: Data, columns: LabelColumns, objective: str = "", *, seed: int = 0, shares: Sequence[float] = SHARES
) -> Examples[PreferencePair]:
    """Pair texts that fit a value with texts that do not.

    ``counts``: ``rows``; ``other_values`` and ``other_labels`` (left out); ``surplus`` (texts without a
    counterpart, left out); ``identical`` (pairs of equal texts, left out); ``pairs``; pairs of each split.
    The texts of one group are in one split; of a source with splits, texts of one split are paired.

    Args:
        data: See `load_pairs`.
        columns: Meaning of the columns.
        objective: Value whose rows are paired, by its name in the column ``value``; it becomes the pairs'
            objective. Without that column it is a name of your own, by default the source's.
        seed: Random seed of the splits and of the order of options.
        shares: Shares of train, validation and test.

    Raises:
        InputError: A column is missing, a text is empty, a label is both good and bad, there are rows of
            several values and none is named, or no pair is left; the error names file, row and field.

    Examples:
        >>> rows = [{"id": 1, "act": "She asks.", "fits": 1}, {"id": 1, "act": "She decides.", "fits": 0}]
        >>> (pair,) = load_labelled_pairs(rows, LabelColumns("act", "fits", group="id"), "respect")
        >>> pair.texts()[0][1]
        'She asks.'
    """
    check_shares(shares)
    if both := set(map(str.casefold, columns.good)) & set(map(str.casefold, columns.bad)):
        raise InputError(f"the label {sorted(both)[0]!r} is good and bad", field="good")
    table = open_table(data)
    counts: Counter[str] = Counter(rows=0, other_values=0, other_labels=0, surplus=0, identical=0)
    groups = _grouped(table, columns, objective, counts)
    about = objective or (next(iter(groups))[1] if columns.value and groups else objective_of(data)) or "fits"
    kept: list[tuple[Split, str, TextPair]] = []
    for (part, _, group), (good, bad) in groups.items():
        counts["surplus"] += abs(len(good) - len(bad))
        for (prompt, chosen), (other, rejected) in zip(good, bad, strict=False):
            if (prompt, chosen) == (other, rejected):
                counts["identical"] += 1
                continue
            pair = TextPair(prompt, chosen, rejected, None if prompt == other else other)
            kept.append((part, f"{about}\0{group}" if columns.group else pair.name, pair))
    names = [name for _, name, _ in kept]
    if not columns.group:
        names = split_names(names, [pair.shared for _, _, pair in kept])
    pairs = [
        one_step_pair(
            pair, f"{table.name}-{number}", about, table.name,
            given if table.assigned else split_of(name, seed=seed, shares=shares), seed,
        )
        for number, (name, (given, _, pair)) in enumerate(zip(names, kept, strict=True), start=1)
    ]  # fmt: skip
    if not pairs:
        raise table.error(f"no text that fits has a counterpart: {dict(counts)}")
    counts["pairs"] = len(pairs)
    for one in SPLITS:
        counts[f"pairs_{one}"] = sum(pair.split == one for pair in pairs)
    return Examples(tuple(pairs), dict(counts))


_Texts = list[tuple[str, str]]
_Group = tuple[Split, str, str]


def _grouped(
    table: Table, columns: LabelColumns, objective: str, counts: Counter[str]
) -> dict[_Group, tuple[_Texts, _Texts]]:
    """Prompts and texts, good and bad, by split of the source, value and group."""
    found: dict[_Group, tuple[_Texts, _Texts]] = {}
    labels: Counter[str] = Counter()
    good, bad = ({one.casefold() for one in names} for names in (columns.good, columns.bad))
    for part, number, row in table.rows():
        counts["rows"] += 1
        value, group, prompt = (
            plain(cell_of(table, number, row, column)) if column else ""
            for column in (columns.value, columns.group, columns.prompt)
        )
        label = plain(cell_of(table, number, row, columns.label))
        text = plain(cell_of(table, number, row, columns.text))
        if columns.value and objective and value != objective:
            counts["other_values"] += 1
            continue
        labels[label] += 1
        if label.casefold() not in good | bad:
            counts["other_labels"] += 1
            continue
        if not text:
            raise table.error("is empty; expected a text", row=number, field=columns.text)
        own = found.setdefault((part, value, group), ([], []))
        own[label.casefold() in bad].append((prompt, text))
    values = list(dict.fromkeys(value for _, value, _ in found))
    if len(values) > 1:
        raise table.error(
            f"has several values; name one as objective: {', '.join(values):.200}", field=columns.value
        )
    if not found:
        raise table.error(
            f"no row{f' of {objective!r}' if objective else ''} has one of the labels "
            f"{', '.join((*columns.good, *columns.bad))}; found {', '.join(labels) or 'none'}",
            field=columns.label,
        )
    return found
