"""One row of preference data into a prompt with two completions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from pluralign.core.messages import Render, dialogue

Unusable = Literal["prompts_differ", "empty", "identical"]
_HUMAN, _ASSISTANT = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True)
class Completions:
    """A prompt and two completions; ``prompt + chosen`` is the whole text.

    Args:
        prompt: of the chosen one, and of the rejected one where it has none of its own.
        chosen: the better completion.
        rejected: the worse one.
        rejected_prompt: of the rejected one, where the prompts differ.
        margin: by how much chosen is better, where the row says so.
    """

    prompt: str
    chosen: str
    rejected: str
    rejected_prompt: str | None = None
    margin: float = 0.0


class FieldError(ValueError):
    """What is wrong with a field of a row; the reader of the row knows where it is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def read_completions(
    row: Mapping[str, Any], render: Render = dialogue, *, two_prompts: bool = False
) -> Completions | Unusable:
    r"""The prompt and the completions of a row with TRL's columns.

    - ``prompt`` a text: ``chosen`` and ``rejected`` are its continuations.
    - ``prompt`` a list of messages: so are ``chosen`` and ``rejected``, and follow it.
    - no ``prompt``, lists of messages: what both begin with is the prompt. (Also where the prompt is
      given as a text beside whole conversations.)
    - no ``prompt``, HH-RLHF dialogues: the prompt runs to the last ``\n\nAssistant:``.
    - no ``prompt``, other texts: the words that both begin with. (TRL cuts between any two
      characters, which can split a word's tokens.)

    Args:
        row: ``chosen``, ``rejected`` and perhaps ``prompt``.
        render: makes text of messages.
        two_prompts: keep answers to two prompts: each conversation's last message answers what comes
            before it.

    Returns:
        The completions; or, where they cannot be used, why: the prompts differ, so that they are not
        two answers to one question; a completion is empty; or both are the same.

    Raises:
        FieldError: a column is missing or of another type.
    """
    chosen, rejected = (_field(row, name) for name in ("chosen", "rejected"))
    prompt = _field(row, "prompt") if row.get("prompt") is not None else None
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise FieldError("rejected", "expected the same form as chosen (both texts, or both messages)")
    if isinstance(chosen, str) and isinstance(rejected, str):
        if isinstance(prompt, list):
            raise FieldError("prompt", "is a list of messages beside texts")
        found = _split_texts(chosen, rejected) if prompt is None else Completions(prompt, chosen, rejected)
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


def _field(row: Mapping[str, Any], name: str) -> str | list[dict[str, str]]:
    value = row.get(name)
    if value is None:
        raise FieldError(name, "is missing")
    return value if isinstance(value, str) else messages_of(value, name)


def messages_of(value: Any, field: str) -> list[dict[str, str]]:
    """A field's messages, each with a role and a content and nothing else.

    Raises:
        FieldError: it holds something else, or none.
    """
    if not isinstance(value, list) or not value:
        raise FieldError(field, f"expected a text or a list of messages, found {value!r:.60}")
    for message in value:
        if not isinstance(message, dict) or not all(
            isinstance(message.get(key), str) for key in ("role", "content")
        ):
            raise FieldError(field, f"expected messages with a role and a content, found {message!r:.60}")
    return [{"role": m["role"], "content": m["content"]} for m in value]


def _margin(row: Mapping[str, Any]) -> float:
    value = row.get("margin")
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FieldError("margin", f"expected a number, found {value!r:.60}")
    return float(value)


def _split_texts(chosen: str, rejected: str) -> Completions | None:
    if all(t.startswith(_HUMAN) and _ASSISTANT in t for t in (chosen, rejected)):
        ends = [t.rindex(_ASSISTANT) + len(_ASSISTANT) for t in (chosen, rejected)]
        if chosen[: ends[0]] != rejected[: ends[1]]:
            return None
        return Completions(chosen[: ends[0]], chosen[ends[0] :], rejected[ends[1] :])
    # At least one word is left to each, even where one text begins with all of the other.
    shortest = min(len(chosen.rstrip()), len(rejected.rstrip()))
    same = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    cut = max((i for i in range(same) if chosen[i].isspace()), default=0)
    # The space goes with the word after it, as tokenizers have it.
    while cut and chosen[cut - 1].isspace():
        cut -= 1
    return Completions(chosen[:cut], chosen[cut:], rejected[cut:])


def _split_messages(
    chosen: list[dict[str, str]], rejected: list[dict[str, str]], shared: int | None, render: Render
) -> Completions | None:
    if shared is None:
        shortest = min(len(chosen), len(rejected))
        shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        if chosen == rejected:
            shared -= 1
    if any(len(m) <= shared or m[shared]["role"] != "assistant" for m in (chosen, rejected)):
        return None
    prompt = render(chosen[:shared], True)
    whole = [render(m, False) for m in (chosen, rejected)]
    for name, text in zip(("chosen", "rejected"), whole, strict=True):
        if not text.startswith(prompt):
            raise FieldError(name, "the chat template does not continue the prompt's text")
    return Completions(prompt, whole[0][len(prompt) :], whole[1][len(prompt) :])


def _answers_to_two_prompts(
    chosen: str | list[dict[str, str]], rejected: str | list[dict[str, str]], render: Render
) -> Completions | None:
    parts: list[tuple[str, str]] = []
    for text in (chosen, rejected):
        if isinstance(text, str):
            cut = text.rfind(_ASSISTANT) + len(_ASSISTANT)
            parts.append((text[:cut], text[cut:]))
        elif text[-1]["role"] == "assistant" and len(text) > 1:
            prompt, whole = render(text[:-1], True), render(text, False)
            parts.append((prompt, whole.removeprefix(prompt)))
    if len(parts) < 2:
        return None
    return Completions(parts[0][0], parts[0][1], parts[1][1], parts[1][0])
