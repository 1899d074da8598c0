"""The reading loop of all loaders, and the template that renders their messages to text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pluralign.core import Decision, Examples, InputError, PreferencePair
from pluralign.core.digests import source_digest
from pluralign.core.messages import DIALOGUE, Messages, Render, Template, as_template
from pluralign.core.splits import SPLITS, Split, check_shares, split_names, split_of
from pluralign.data.columns import FieldError
from pluralign.data.source import Row, Table

Read = TypeVar("Read")
Made = TypeVar("Made")


def learned_template(rows: object, asked: str | None, tokenizer: Any) -> str:
    """Name of the template that a trained model records: the one that rendered its data's messages.

    Args:
        rows: Training data.
        asked: Name that the user requested; None for the data's.
        tokenizer: Tokenizer of the model.

    Raises:
        InputError: The data's messages were rendered with another template, or with a function.
    """
    known = rows.template if isinstance(rows, Examples) else None
    if known is None:
        return asked or DIALOGUE.name
    if asked not in (None, known.name):
        raise InputError(
            f"the data's messages were rendered with the template {known.name!r}, found {asked!r}",
            field="template",
        )
    from pluralign.lm.prompts import TEMPLATES

    if known.name not in TEMPLATES:
        raise InputError(
            f"the data's messages were rendered with a function; load with one of {', '.join(TEMPLATES)}",
            field="template",
        )
    if known != TEMPLATES[known.name](tokenizer):
        raise InputError(
            "the data's messages were rendered with another model's chat template", field="template"
        )
    return known.name


def holds_quoted(rows: object) -> bool:
    """Whether rows were read with a chat template, which quotes names of control tokens in them."""
    return isinstance(rows, Examples) and rows.template is not None and rows.template.name == "chat"


def quoted_decisions(pairs: Sequence[PreferencePair], template: Template) -> list[list[Decision]]:
    """Completions of each pair to score (`PreferencePair.decisions`), with names of control tokens quoted.

    Args:
        pairs: Pairs as they were loaded: their template may have quoted these names already.
        template: Template of the model that reads them.

    Raises:
        InputError: A pair has several steps.
    """
    quote: Callable[[Decision], Decision] = (lambda one: one) if holds_quoted(pairs) else template.quote
    return [[quote(one) for one in pair.decisions(row=row)] for row, pair in enumerate(pairs, start=1)]


class RecordedTemplate:
    """A template that records whether it rendered messages.

    Attributes:
        template: Template that records its use.
        used: The template if it was used, else None.
    """

    def __init__(self, template: Template) -> None:
        self._given = template
        self.template = replace(template, render=self._render)
        self.used: Template | None = None

    def _render(self, messages: Messages, opens: bool) -> str:
        self.used = self._given
        return self._given.render(messages, opens)


def open_template(template: str | Render, model: str | None, control_tokens: bool = False) -> Template:
    """A loader's template, by name or as a function.

    Args:
        template: Name or function.
        model: Model with the chat template.
        control_tokens: Whether texts may contain control tokens by name.

    Raises:
        InputError: The name is unknown, or a chat template was requested without a model, or the model has
            none.
    """
    if not isinstance(template, str):
        found = as_template(template)
        return found.trusting() if control_tokens else found
    if template == DIALOGUE.name:
        return DIALOGUE
    from pluralign.lm.backbone import load_tokenizer
    from pluralign.lm.prompts import TEMPLATES

    if template not in TEMPLATES:
        raise InputError(f"must be one of {', '.join(TEMPLATES)}, found {template!r}", field="template")
    if model is None:
        raise InputError("the template 'chat' requires a model", field="model")
    return TEMPLATES[template](load_tokenizer(model), control_tokens)


def read_examples(
    table: Table, counts: Counter[str], noun: str, nothing: str, template: Template, seed: int,
    shares: Sequence[float], read: Callable[[Row, Render], Read | str],
    make: Callable[[Read, Split, int], Made], prompt: Callable[[Read], str],
    shared: Callable[[Read], Collection[str]] | None = None,
) -> Examples[Made]:  # fmt: skip
    """Read, count and make examples from a table's rows.

    Args:
        table: Rows to read.
        counts: Initial counts, all 0, in the order of the report.
        noun: Name of the examples in the counts.
        nothing: Error message if no row can be used.
        template: Template for messages.
        seed: Random seed of the splits.
        shares: Shares of train, validation and test.
        read: Function from a row to its content, or to the reason why it is left out.
        make: Function from a content, its split and its row number to an example.
        prompt: Function from a content to the prompt that determines its split if the source has no splits.
        shared: Function from a content to texts that determine with which others it is in one split
            (`split_names`); by default each prompt goes by itself.

    Raises:
        InputError: A row cannot be read, or no row can be used.
    """
    check_shares(shares)
    render = RecordedTemplate(template)
    kept: list[tuple[Split, int, Read]] = []
    for given, number, row in table.rows():
        counts["rows"] += 1
        found = read_row(table, number, lambda row=row: read(row, render.template))
        if isinstance(found, str):
            counts[found] += 1
            continue
        kept.append((given, number, found))
    if not kept:
        raise table.error(f"{nothing}: {dict(counts)}")
    parts: list[Split] = [given for given, _, _ in kept]
    if not table.assigned:
        names = [prompt(found) for _, _, found in kept]
        if shared is not None:
            names = split_names(names, [shared(found) for _, _, found in kept])
        parts = [split_of(name, seed=seed, shares=shares) for name in names]
    made = [make(found, part, number) for (_, number, found), part in zip(kept, parts, strict=True)]
    splits = Counter(parts)
    counts[noun] = len(made)
    for one in SPLITS:
        counts[f"{noun}_{one}"] = splits[one]
    return Examples(tuple(made), dict(counts), render.used, _source(table, seed, shares))


def _source(table: Table, seed: int, shares: Sequence[float]) -> dict[str, Any]:
    if table.path is None:
        return {}
    given: dict[str, Any] = {"seed": seed, "shares": list(shares)}
    if table.assigned:
        given = {"split": next(iter(table.parts))} if len(table.parts) == 1 else {}
    return {**source_digest(table.path), **({"splits": given} if given else {})}


def read_row(table: Table, number: int, read: Callable[[], Read]) -> Read:
    """Read one row.

    Raises:
        InputError: The row cannot be read; the error names its place.
    """
    try:
        return read()
    except FieldError as error:
        raise table.error(str(error), row=number, field=error.field) from error
    except InputError as error:
        if error.row is not None:
            raise
        raise table.error(error.message, row=number, field=error.field) from error
