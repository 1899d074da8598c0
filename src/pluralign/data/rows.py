"""The one grammar of rows: prompts with completions, conversations and preferences, as texts or messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

from pluralign.core.messages import Render, dialogue
from pluralign.data.source import Row
from pluralign.data.text_pairs import ASSISTANT, TextPair, split_texts

Unusable = Literal["prompts_differ", "empty", "identical"]
Message = dict[str, str]
Content = str | list[Message]
"""A text, or messages."""
Form = Literal["completion", "preference", "messages"]


class FieldError(ValueError):
    """An unusable field of a row; `Table.error` adds where the row is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


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


def read_content(row: Row, field: str) -> Content:
    """A column's text or messages.

    Raises:
        FieldError: It is missing, or holds something else.
    """
    value = row.get(field)
    if value is None:
        raise FieldError(field, "is missing")
    return value if isinstance(value, str) else messages_of(value, field)


def messages_of(value: Any, field: str) -> list[Message]:
    """A field's messages, each with a role and a content and nothing else.

    Raises:
        FieldError: It holds something else, or no message.
    """
    if not isinstance(value, list) or not value:
        raise FieldError(field, f"expected a text or a list of messages, found {value!r:.60}")
    for message in cast("list[Any]", value):
        if not isinstance(message, dict) or not all(
            isinstance(cast("dict[str, Any]", message).get(key), str) for key in ("role", "content")
        ):
            raise FieldError(field, f"expected messages with a role and a content, found {message!r:.60}")
    return [{"role": m["role"], "content": m["content"]} for m in cast("list[Message]", value)]


def read_prompt(row: Row, render: Render) -> tuple[Any, str] | None:
    """The prompt of a row as it stands there, and as text: "prompt", else what precedes the completion.

    Returns:
        Both; the text is empty where nothing is asked. None for a preference row without a common prompt.

    Raises:
        FieldError: A column is missing or of another type.
    """
    given, field = row.get("prompt"), "prompt"
    if given is None and form_of(row) == "preference":
        pair = read_pair(row, render)
        return (pair.prompt, pair.prompt) if isinstance(pair, TextPair) else None
    if given is None and row.get("messages"):
        given, field = row["messages"], "messages"
        if messages_of(given, field)[-1]["role"] == "assistant":
            given = given[:-1]
    if isinstance(given, str):
        return given, given
    if given is None:
        raise FieldError(field, "is missing")
    asked = messages_of(given, field) if given != [] else []
    return given, render(given, True) if any(m["content"].strip() for m in asked) else ""


def read_answer(row: Row, render: Render = dialogue) -> tuple[Content, Content] | None:
    """Prompt and completion of a row, as they stand there; of a preference, the chosen one as text.

    Returns:
        Both; None for a preference row that cannot be used (see `read_pair`).

    Raises:
        FieldError: A column is missing or of another type.
    """
    form = form_of(row)
    if form == "preference":
        pair = read_pair(row, render)
        return (pair.prompt, pair.chosen) if isinstance(pair, TextPair) else None
    if form == "messages":
        messages = messages_of(row["messages"], "messages")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise FieldError("messages", "expected two messages or more, the last of them the assistant's")
        return messages[:-1], messages[-1:]
    completion, prompt = read_content(row, "completion"), read_content(row, "prompt")
    if isinstance(prompt, str) and not isinstance(completion, str) and len(completion) != 1:
        raise FieldError("completion", "expected one message after a prompt that is a text")
    return prompt, completion


def as_texts(prompt: Content, completion: Content, render: Render) -> tuple[str, str]:
    """Prompt and completion as the texts that a model reads; ``prompt + completion`` is the whole text.

    Raises:
        FieldError: The template writes the messages up to the completion in another way than alone.
    """
    if isinstance(prompt, str):
        return prompt, completion if isinstance(completion, str) else completion[0]["content"]
    before = render(prompt, True)
    if isinstance(completion, str):
        return before, completion
    return before, _continuation(before, render([*prompt, *completion], False), "completion")


def read_completion(row: Row, render: Render = dialogue) -> tuple[str, str] | None:
    """Prompt and completion of a row as texts; see `read_answer`."""
    found = read_answer(row, render)
    return None if found is None else as_texts(*found, render)


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
    prompt, _ = as_texts(read_content(row, "prompt"), "", render)
    found: dict[str, tuple[str, str]] = {}
    for i, text in enumerate(cast("list[Any]", completions)):
        if not isinstance(text, str):
            raise FieldError("completions", f"expected a list of texts, found {text!r:.60} in it")
        found[f"completions.{i}"] = (prompt, text)
    return found if len(found) != 1 else {"completion": found["completions.0"]}


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
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise FieldError(field, f"expected a finite number (pluralign score adds one), found {given!r:.60}")
    return float(given)


def read_pair(row: Row, render: Render = dialogue, *, two_prompts: bool = False) -> TextPair | Unusable:
    r"""The prompt and the completions of a row with TRL's columns.

    - ``prompt`` a text: ``chosen`` and ``rejected`` are its continuations.
    - ``prompt`` a list of messages: so are ``chosen`` and ``rejected``, and follow it.
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
    chosen, rejected = (read_content(row, name) for name in ("chosen", "rejected"))
    prompt = read_content(row, "prompt") if row.get("prompt") is not None else None
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise FieldError("rejected", "expected the same form as chosen (both texts, or both messages)")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if isinstance(prompt, list):
            raise FieldError("prompt", "is a list of messages beside texts")
        found = split_texts(chosen, rejected) if prompt is None else TextPair(prompt, chosen, rejected)
    else:
        assert isinstance(chosen, list), "texts were handled above"
        assert isinstance(rejected, list), "its form is chosen's"
        if isinstance(prompt, list):
            chosen, rejected = prompt + chosen, prompt + rejected
        found = _split_messages(chosen, rejected, len(prompt) if isinstance(prompt, list) else None, render)
    if found is None and two_prompts:
        found = _answers_to_two_prompts(chosen, rejected, render)
    if found is None:
        return "prompts_differ"
    if found.chosen == found.rejected and found.rejected_prompt in (None, found.prompt):
        return "identical"
    if not found.chosen.strip() or not found.rejected.strip():
        return "empty"
    return replace(found, margin=_margin(row))


def _margin(row: Row) -> float:
    value = row.get("margin")
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FieldError("margin", f"expected a number, found {value!r:.60}")
    return float(value)


def _split_messages(
    chosen: list[Message], rejected: list[Message], shared: int | None, render: Render
) -> TextPair | None:
    if shared is None:
        shortest = min(len(chosen), len(rejected))
        shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        if chosen == rejected:
            shared -= 1
    if any(len(m) <= shared or m[shared]["role"] != "assistant" for m in (chosen, rejected)):
        return None
    prompt = render(chosen[:shared], True)
    texts = [_continuation(prompt, render(chosen, False), "chosen")]
    texts.append(_continuation(prompt, render(rejected, False), "rejected"))
    return TextPair(prompt, texts[0], texts[1])


def _continuation(prompt: str, whole: str, field: str) -> str:
    if not whole.startswith(prompt):
        raise FieldError(field, "the chat template does not continue the prompt's text")
    return whole[len(prompt) :]


def _answers_to_two_prompts(chosen: Content, rejected: Content, render: Render) -> TextPair | None:
    parts: list[tuple[str, str]] = []
    for name, text in (("chosen", chosen), ("rejected", rejected)):
        if isinstance(text, str):
            cut = text.rfind(ASSISTANT) + len(ASSISTANT)
            parts.append((text[:cut], text[cut:]))
        elif text[-1]["role"] == "assistant" and len(text) > 1:
            prompt = render(text[:-1], True)
            parts.append((prompt, _continuation(prompt, render(text, False), name)))
    if len(parts) < 2:
        return None
    return TextPair(parts[0][0], parts[0][1], parts[1][1], parts[1][0])
