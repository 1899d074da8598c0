"""The one grammar of rows: prompts with completions, conversations and preferences, as texts or messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from pluralign.core.jsonl import is_finite
from pluralign.core.messages import (
    Messages,
    Render,
    Template,
    arguments_of,
    as_template,
    beginning,
    dialogue,
    extended,
    says_nothing,
)
from pluralign.data.columns import Content, FieldError, read_content, require_text
from pluralign.data.rendering import as_texts, last_answers, placed, quoted, split_messages
from pluralign.data.source import Row
from pluralign.data.text_pairs import Answered, TextPair, answers_to_two_prompts, split_texts

Unusable = Literal["prompts_differ", "empty", "identical"]
Form = Literal["completion", "preference", "messages"]

ADAPTIVE = "samples_drawn"
"""Column of rows whose number of samples per prompt depended on their rewards."""
ADAPTIVE_REASON = (
    "samples were drawn until one was good enough (generate --samples with a range), so they are no fair "
    "sample of the model; draw a fixed number"
)


def form_of(row: Row) -> Form:
    """Which columns hold a row's completion: the first of "completion", "chosen" and "messages" with a value.

    A row without any is to have a completion, and is refused by the name of that column.
    """
    if row.get("completion") is None:
        if row.get("chosen") is not None:
            return "preference"
        if row.get("messages") is not None:
            return "messages"
    return "completion"


def read_prompt(row: Row, render: Render) -> tuple[Any, str] | None:
    """The prompt of a row as it stands there, and as text: "prompt", else what precedes the completion.

    Returns:
        Both; the text is empty where nothing is asked. None for a preference row without a common prompt.

    Raises:
        FieldError: A column is missing or of another type.
    """
    template, field = as_template(render), "prompt"
    if row.get("prompt") is None and form_of(row) == "preference":
        pair = read_pair(row, template)
        if not isinstance(pair, TextPair):
            return None
        return (pair.prompt if pair.asked is None else pair.asked), pair.prompt
    if row.get("prompt") == []:
        return [], ""
    if row.get("prompt") is None and row.get("messages"):
        field = "messages"
    given = read_content(row, field)
    if isinstance(given, str):
        return given, template.quote_prompt(given)
    if field == "messages" and given[-1]["role"] == "assistant":
        given = beginning(given, -1)
    if not any((m["content"] or "").strip() for m in given):
        return given, ""
    with placed(field):
        return given, template(given, True)


def read_answer(row: Row, render: Render = dialogue) -> tuple[Content, Content] | None:
    """Prompt and completion of a row, as they stand there; of a preference, the chosen one.

    Returns:
        Both; None for a preference row that cannot be used (see `read_pair`).

    Raises:
        FieldError: A column is missing or of another type.
    """
    form = form_of(row)
    if form == "preference":
        pair = read_pair(row, render)
        if not isinstance(pair, TextPair):
            return None
        if pair.asked is None or pair.answered is None:
            return pair.prompt, pair.chosen
        return pair.asked, pair.answered
    if form == "messages":
        messages = read_content(row, "messages")
        if isinstance(messages, str) or len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise FieldError("messages", "expected two messages or more, the last of them the assistant's")
        return beginning(messages, -1), messages[-1:]
    completion, prompt = read_content(row, "completion", begins=False), read_content(row, "prompt")
    if isinstance(prompt, str) and not isinstance(completion, str) and len(completion) != 1:
        raise FieldError("completion", "expected one message after a prompt that is a text")
    return prompt, completion


def read_completion(row: Row, render: Render = dialogue) -> tuple[str, str] | None:
    """Prompt and completion of a row as texts; see `read_answer`."""
    if form_of(row) == "preference":
        pair = read_pair(row, render)
        return (pair.prompt, pair.chosen) if isinstance(pair, TextPair) else None
    found = read_answer(row, render)
    return None if found is None else as_texts(*found, render, form_of(row))


def read_answered(row: Row, render: Render = dialogue) -> Answered | None:
    """`read_completion`, and what determines the row's split."""
    if form_of(row) == "preference":
        pair = read_pair(row, render)
        if not isinstance(pair, TextPair):
            return None
        return Answered((pair.prompt, pair.chosen), False, pair.name, pair.shared)
    found = read_answer(row, render)
    if found is None:
        return None
    texts = as_texts(*found, render, form_of(row))
    return Answered(texts, says_nothing(found[1]), texts[0], texts[:1])


def read_named(row: Row, render: Render) -> dict[str, tuple[str, str]]:
    """Every completion of a row by its column: (prompt, completion), as texts.

    A column "completions" may hold a list of texts: they are named ``completions.0`` and so on.

    Raises:
        FieldError: A column is missing or of another type, or a completion is empty. (Only a "completion"
            may be: a model that has nothing to say writes the end of text alone.)
    """
    form = form_of(row)
    if form == "preference":
        pair = read_pair(row, render, two_prompts=True)
        if not isinstance(pair, TextPair):
            raise FieldError("rejected", f"cannot be scored: {pair}")
        other = pair.prompt if pair.rejected_prompt is None else pair.rejected_prompt
        found = {"chosen": (pair.prompt, pair.chosen), "rejected": (other, pair.rejected)}
    elif row.get("completions") is not None and row.get("completion") is None and form == "completion":
        found = _listed(row, render)
    else:
        one = read_completion(row, render)
        assert one is not None, "only preferences can be unusable"
        found = {form: one}
    for name, (_, completion) in found.items():
        if not completion.strip() and name != "completion":
            raise FieldError(name, "is empty")
    return found


def _listed(row: Row, render: Render) -> dict[str, tuple[str, str]]:
    completions = row["completions"]
    if not isinstance(completions, list):
        raise FieldError("completions", f"expected a list of texts, found {completions!r:.60}")
    given, template = read_content(row, "prompt"), as_template(render)
    prompt, _ = as_texts(given, "", render, "prompt")
    found: dict[str, tuple[str, str]] = {}
    for i, text in enumerate(cast("list[Any]", completions)):
        if not isinstance(text, str):
            raise FieldError("completions", f"expected a list of texts, found {text!r:.60} in it")
        require_text(text, "completions")
        answer = template.quote_completion(text) if isinstance(given, str) else template.answer(text)
        found[f"completions.{i}"] = (prompt, answer)
    return found if len(found) != 1 else {"completion": found["completions.0"]}


def require_fixed_number(row: Row) -> None:
    """Refuse a completion whose prompt got samples until one was good enough (`generate --samples 4..32`).

    Raises:
        FieldError: The row has the column "samples_drawn".
    """
    if row.get(ADAPTIVE) is not None:
        raise FieldError(ADAPTIVE, ADAPTIVE_REASON)


def read_reward(row: Row) -> float:
    """The reward of the completion that `read_answer` takes from a row: a number "reward", or the one in the
    column "rewards" that ``score`` adds.

    Raises:
        FieldError: It is missing or not a finite number.
    """
    given, field = row.get("reward"), "reward"
    if given is None and isinstance(row.get("rewards"), Mapping):
        form, field = form_of(row), "rewards"
        scored = row["rewards"].get("chosen" if form == "preference" else form)
        given = cast("Row", scored).get("reward") if isinstance(scored, Mapping) else None
    if not is_finite(given):
        raise FieldError(field, f"expected a finite number (pluralign score adds one), found {given!r:.60}")
    return float(given)


def read_pair(row: Row, render: Render = dialogue, *, two_prompts: bool = False) -> TextPair | Unusable:
    r"""The prompt and the completions of a row with TRL's columns.

    - ``prompt`` a text: ``chosen`` and ``rejected`` are its continuations.
    - ``prompt`` a list of messages: so are ``chosen`` and ``rejected``, and follow it.
    - ``prompt`` a text next to one message of the assistant each: their contents are its continuations.
    - no ``prompt``, lists of messages: what both begin with is the prompt. (Also where the prompt is
      given as a text next to whole conversations.)
    - no ``prompt``, HH-RLHF dialogues: the prompt runs to the last ``\n\nAssistant:``.
    - no ``prompt``, other texts: the words that both begin with. (TRL cuts between any two
      characters, which can split a word's tokens.)

    Args:
        row: Columns ``chosen``, ``rejected`` and optionally ``prompt``.
        render: Function from messages to text.
        two_prompts: Keep answers to two prompts: the last message of each conversation answers what comes
            before it.

    Returns:
        The pair; or why it cannot be used: the prompts differ, so that the completions do not answer one
        question; a completion is empty; or both are the same.

    Raises:
        FieldError: A column is missing or of another type.
    """
    template = as_template(render)
    whole = not isinstance(row.get("prompt"), list)
    alone = whole and not (isinstance(row.get("prompt"), str) and isinstance(row.get("chosen"), str))
    chosen, rejected = (read_content(row, name, begins=alone) for name in ("chosen", "rejected"))
    prompt = read_content(row, "prompt", begins=not alone) if row.get("prompt") is not None else None
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise FieldError("rejected", "expected the same form as chosen (both texts, or both messages)")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if prompt is not None and not isinstance(prompt, str):
            raise FieldError("prompt", "is a list of messages, next to texts")
        found = split_texts(chosen, rejected) if prompt is None else TextPair(prompt, chosen, rejected)
        if found is None and two_prompts:
            found = answers_to_two_prompts(chosen, rejected)
        found = found and quoted(found, template)
    else:
        assert not isinstance(chosen, str), "texts were handled above"
        assert not isinstance(rejected, str), "its form is chosen's"
        shared = None
        if not whole:
            assert prompt is not None, "it is a list"
            assert not isinstance(prompt, str), "it is a list"
            chosen, rejected, shared = extended(prompt, chosen), extended(prompt, rejected), len(prompt)
        if isinstance(prompt, str) and prompt and not _asks(chosen):
            found = _answers(prompt, chosen, rejected, template)
        else:
            found = split_messages(chosen, rejected, shared, template)
        if found is None and two_prompts:
            found = last_answers(chosen, rejected, template)
    if found is None:
        return "prompts_differ"
    if found.chosen == found.rejected and found.rejected_prompt in (None, found.prompt):
        return "identical"
    if not found.chosen.strip() or not found.rejected.strip():
        return "empty"
    return replace(found, margin=_margin(row))


def _asks(messages: Messages) -> bool:
    """Whether a conversation has more than a system message before the assistant's first one."""
    return next((m["role"] for m in messages if m["role"] not in ("system", "developer")), "") != "assistant"


def _answers(prompt: str, chosen: Messages, rejected: Messages, template: Template) -> TextPair:
    """A text prompt with the assistant's messages as its completions."""
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if messages[0]["role"] != "assistant" or arguments_of(messages):
            raise FieldError("prompt", f"is a text, which has no system message and no tools; {name} has one")
    (given, first), (_, second) = (
        as_texts(prompt, messages, template, name)
        for name, messages in (("chosen", chosen), ("rejected", rejected))
    )
    return TextPair(given, first, second)


def _margin(row: Row) -> float:
    value = row.get("margin")
    if value is None:
        return 0.0
    if not is_finite(value):
        raise FieldError("margin", f"expected a number, found {value!r:.60}")
    return float(value)
