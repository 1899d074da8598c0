"""Marks in messages, by which it is seen in one rendering whether a chat template shows them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pluralign.core.messages import REASONING, Message


def shown_fields(message: Message, *, last: bool) -> list[str]:
    """Fields that a template has to show if a message has them.

    Args:
        message: The message.
        last: Whether it is the last one of a conversation that ends with it.
    """
    names = ["tool_calls", "function_call"]
    # Results of tools are shown, whichever call they belong to; earlier reasoning is left out by design.
    names += ["name"] if message["role"] != "tool" else []
    return [*names, *(REASONING if last else ())]


def marked(
    messages: Sequence[Message], text: str, word: str, *, opens: bool
) -> tuple[Sequence[Message], Mapping[str, int]]:
    """The messages with a mark in everything that a template might leave out, and for each mark the place of
    its message.

    Args:
        messages: Conversation.
        text: The conversation as the template writes it: contents in it are shown.
        word: Word that no template has, with which marks begin.
        opens: Whether the text ends with the generation prompt.

    Raises:
        LookupError: A call has no name.
    """
    marks: dict[str, int] = {}

    def with_marks(name: str, value: Any, number: int) -> Any:
        if name == "tool_calls":
            calls = cast("Sequence[Mapping[str, Any]]", value)
            return [
                {**one, "function": with_marks("function_call", one["function"], number)} for one in calls
            ]
        if name == "function_call":
            return {**value, "name": with_marks("name", value["name"], number)}
        marks[mark := f"{word}{len(marks)}."] = number
        return f"{value} {mark}"

    def shown(number: int, message: Message) -> Message:
        names = shown_fields(message, last=number == len(messages) - 1 and not opens)
        content = message.get("content")
        # Other roles than these two are those that templates may not know.
        unseen = message["role"] not in ("user", "assistant") and content and content.strip() not in text
        known = [name for name in names if message.get(name)] + (["content"] if unseen else [])
        return {**message, **{name: with_marks(name, message[name], number) for name in known}}

    return [shown(*one) for one in enumerate(messages)], marks
