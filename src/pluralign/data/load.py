"""Loaders: files, folders, hub ids and rows in memory into examples of the kinds that learners take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

from pluralign.core import Demonstration, Examples, InputError, PreferencePair
from pluralign.core.checks import checked, require_at_least
from pluralign.core.messages import DIALOGUE, Render
from pluralign.core.splits import SHARES, Split
from pluralign.data.examples import Prompt, ScoredCompletion
from pluralign.data.in_memory import unframed
from pluralign.data.own_pairs import chosen_completions, own_header, own_pairs
from pluralign.data.reading import RecordedTemplate, open_template, read_examples, read_row
from pluralign.data.rows import (
    form_of,
    read_answered,
    read_pair,
    read_prompt,
    read_reward,
    require_fixed_number,
)  # fmt: skip
from pluralign.data.source import Data, Row, Table, objective_of, open_table
from pluralign.data.text_pairs import Answered, TextPair, one_step_pair


@checked
def load_pairs(
    data: Data, objective: str = "", split: Split | None = None, *, template: str | Render = DIALOGUE,
    model: str | None = None, seed: int = 0, shares: Sequence[float] = SHARES, rater: str = "",
    two_prompts: bool = False, control_tokens: bool = False,
) -> Examples[PreferencePair]:  # fmt: skip
    """Read preference pairs: rows with TRL's columns (``chosen``, ``rejected``, ``prompt``), or a file that
    ``pair`` wrote.

    Each pair is one decision; its two options are the completions, in an order drawn from the seed and the
    texts, so that position carries no label. Rows that cannot be used are left out and counted:
    ``prompts_differ``, ``empty`` (a completion without text), ``identical`` (both completions the same).
    ``counts`` also holds ``rows``, ``pairs`` and the pairs of each split. See `read_pair` for the columns.

    Examples:
        >>> pairs = load_pairs([{"prompt": "Say a:", "chosen": " a", "rejected": " b"}], "obedient", "train")
        >>> pairs[0].texts()
        (('Say a:', ' a'), ('Say a:', ' b'))
        >>> pairs.counts["pairs_train"]
        1

    Args:
        data: File (.jsonl, .json, .csv, .tsv, .parquet; .gz too), folder, hub id, ``datasets.Dataset`` or
            ``DatasetDict``, ``pandas.DataFrame``, or any iterable of rows.
        objective: Name of the objective that the preferences are about; by default the source's name.
        split: Split to read, of a source with splits; other rows are taken to be of this split. None reads
            all splits, and assigns each prompt of a source without splits to one by its hash (`split_of`);
            pairs that share a prompt, or, as whole texts without prompts, a text, are in one split.
        template: How messages become text: ``dialogue`` (HH-RLHF's plain form), ``chat`` (the chat template
            of ``model``), or a function. It travels with the pairs, and learners refuse another one.
        model: Model whose chat template is meant: hub id, folder or ``smollm2-135m``.
        seed: Seed for the order of options and for the splits.
        shares: Shares of train, validation and test, where prompts are assigned.
        rater: Name of the rater; by default the source's name.
        two_prompts: Keep pairs whose completions answer different prompts, which reward models can learn
            from; ``prompts_differ`` then counts those among the pairs.
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text (docs/conversations.md).

    Raises:
        InputError: No such source or split, a broken line, a missing column, a field of another type (with
            file, row counted from 1, and field), or no usable row.
    """
    if (header := own_header(data)) is not None:
        return own_pairs(str(data), objective, split, header)
    table = open_table(data, split)
    counts: Counter[str] = Counter(rows=0, prompts_differ=0, empty=0, identical=0)
    alone, about = len(table.parts) == 1, objective or objective_of(data)

    def make(pair: TextPair, part: Split, number: int) -> PreferencePair:
        counts["prompts_differ"] += pair.rejected_prompt is not None
        label = f"{table.name}-{number}" if alone else f"{table.name}-{part}-{number}"
        return one_step_pair(pair, label, about, rater or table.name, part, seed)

    def read(row: Row, render: Render) -> TextPair | str:
        return read_pair(row, render, two_prompts=two_prompts)

    return read_examples(
        table, counts, "pairs", "holds no usable preference pair",
        open_template(template, model, control_tokens), seed, shares, read, make,
        lambda pair: pair.name, lambda pair: pair.shared,
    )  # fmt: skip


@checked
def load_demonstrations(
    data: Data, objective: str = "", split: Split | None = None, *, template: str | Render = DIALOGUE,
    model: str | None = None, seed: int = 0, shares: Sequence[float] = SHARES,
    control_tokens: bool = False,
) -> Examples[Demonstration]:  # fmt: skip
    """Read completions that are offered as good: ``prompt`` with ``completion`` (texts or messages; also what
    ``generate`` writes), ``messages`` that end with the assistant's, or preferences, of which the chosen
    completion is taken; its split is that of the pair (`load_pairs`).

    ``counts``: ``rows``; ``empty`` (completions without text, left out); ``unusable`` (preferences without a
    common prompt, left out); ``demonstrations``, and those of each split.

    Examples:
        >>> rows = load_demonstrations([{"prompt": "Say a:", "completion": " a"}], split="train")
        >>> rows[0].prompt + rows[0].completion
        'Say a: a'

    Args:
        data: See `load_pairs`.
        objective: See `load_pairs`.
        split: See `load_pairs`.
        template: See `load_pairs`.
        model: See `load_pairs`.
        seed: See `load_pairs`.
        shares: See `load_pairs`.
        control_tokens: See `load_pairs`.

    Raises:
        InputError: See `load_pairs`; or a file of `pair` has labels that may be wrong.
    """
    if (header := own_header(data)) is not None:
        return chosen_completions(own_pairs(str(data), objective, split, header), str(data))
    table, about = open_table(data, split), objective or objective_of(data)

    def read(row: Row, render: Render) -> Answered | str:
        found = read_answered(row, render)
        return "unusable" if found is None else "empty" if found.empty else found

    def make(found: Answered, part: Split, number: int) -> Demonstration:
        return Demonstration(*found.texts, objective=about, source=table.path or "", split=part)

    return read_examples(
        table, Counter(rows=0, empty=0, unusable=0), "demonstrations", "holds no usable completion",
        open_template(template, model, control_tokens), seed, shares, read, make,
        lambda found: found.name, lambda found: found.shared,
    )  # fmt: skip


@checked
def load_scored(
    data: Data, objective: str = "", split: Split | None = None, *, template: str | Render = DIALOGUE,
    model: str | None = None, seed: int = 0, shares: Sequence[float] = SHARES,
    control_tokens: bool = False, adaptive: bool = False,
) -> Examples[ScoredCompletion]:  # fmt: skip
    """Read completions with a reward each: rows of `load_demonstrations` with ``rewards`` as ``score`` adds
    them, or with a number ``reward``. A completion may be empty.

    ``counts``: ``rows``; ``unusable`` (preferences without a common prompt, left out); ``completions``, and
    those of each split.

    Examples:
        >>> rows = load_scored([{"prompt": "Say a:", "completion": " a", "reward": 1}], split="train")
        >>> rows[0].reward
        1.0

    Args:
        data: See `load_pairs`.
        objective: See `load_pairs`.
        split: See `load_pairs`.
        template: See `load_pairs`.
        model: See `load_pairs`.
        seed: See `load_pairs`.
        shares: See `load_pairs`.
        control_tokens: See `load_pairs`.
        adaptive: Whether to accept samples that were drawn until one was good enough (`generate --samples
            4..32`): they can be ranked, but are no fair sample of the model.

    Raises:
        InputError: See `load_pairs`; or samples were drawn in this way and ``adaptive`` is False.
    """

    def read(row: Row, render: Render) -> tuple[Answered, float] | str:
        if not adaptive:
            require_fixed_number(row)
        found = read_answered(row, render)
        return "unusable" if found is None else (found, read_reward(row))

    def make(scored: tuple[Answered, float], part: Split, number: int) -> ScoredCompletion:
        return ScoredCompletion(*scored[0].texts, scored[1], objective=about, split=part)

    about = objective or objective_of(data)
    return read_examples(
        open_table(data, split), Counter(rows=0, unusable=0), "completions",
        "holds no completion with a reward", open_template(template, model, control_tokens), seed, shares,
        read, make, lambda scored: scored[0].name, lambda scored: scored[0].shared,
    )  # fmt: skip


@checked
def load_prompts(
    data: Data | Iterable[str], *, template: str | Render = DIALOGUE, model: str | None = None,
    limit: int | None = None, control_tokens: bool = False,
) -> Examples[Prompt]:  # fmt: skip
    """Read prompts to complete, each once: a column ``prompt`` (texts or messages), ``messages``, or
    preferences, of which the common prompt is taken.

    ``counts``: ``rows``; ``repeated`` (prompts that occurred before); ``empty`` (without text); ``unusable``
    (preferences without a common prompt).

    Examples:
        >>> prompts = load_prompts(["Say a:", "Say b:", "Say a:"])
        >>> [prompt.text for prompt in prompts], prompts.counts["repeated"]
        (['Say a:', 'Say b:'], 1)

    Args:
        data: See `load_pairs`; also a .txt file with one prompt a line, or an iterable of texts.
        template: See `load_pairs`.
        model: See `load_pairs`.
        limit: Number of prompts to read at most.
        control_tokens: See `load_pairs`.

    Raises:
        InputError: It cannot be read, a row has no prompt (with file, row and field), or none is left.
    """
    if limit is not None:
        require_at_least(1, limit=limit)
    table, render = _prompt_table(data), RecordedTemplate(open_template(template, model, control_tokens))
    counts: Counter[str] = Counter(rows=0, repeated=0, empty=0, unusable=0)
    found: dict[str, Prompt] = {}
    for _, number, row in table.rows():
        if limit is not None and len(found) == limit:
            break
        counts["rows"] += 1
        read = read_row(table, number, lambda row=row: read_prompt(row, render.template))
        if read is None:
            counts["unusable"] += 1
        elif not read[1].strip():
            counts["empty"] += 1
        elif read[1] in found:
            counts["repeated"] += 1
        else:
            found[read[1]] = Prompt(*read)
    if not found:
        raise table.error(f"holds no prompt: {dict(counts)}")
    return Examples(tuple(found.values()), dict(counts), render.used)


def holds_preferences(data: Data) -> bool:
    """Whether the first row has a chosen completion, so that a rejected one can be compared with it.

    Raises:
        InputError: The data cannot be read.
    """
    if own_header(data) is not None:
        return True
    return any(form_of(row) == "preference" for _, _, row in islice(open_table(data).rows(), 1))


def _prompt_table(data: Data | Iterable[str]) -> Table:
    data = unframed(data)
    path = Path(data) if isinstance(data, str | Path) else None
    if path is not None and path.suffix == ".txt":
        try:
            # Only line breaks end a line: `str.splitlines` takes other characters of a prompt for some.
            lines = path.read_text("utf-8-sig").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", path=path) from error
        return Table(path.name, str(path), {"train": [{"prompt": line} for line in lines]}, False)
    if path is not None or isinstance(data, Mapping) or not hasattr(data, "__iter__"):
        return open_table(cast("Data", data))
    rows = cast("Iterable[str | Row]", data)
    return open_table([{"prompt": row} if isinstance(row, str) else row for row in rows])
