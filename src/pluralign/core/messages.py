"""Conversations, and templates that render them to text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision

Message = Mapping[str, Any]
"""A role, a content (a text, or None next to tool calls), and what else the message has: `FIELDS`."""

Messages = Sequence[Message]
"""A conversation; a `Conversation` where its template reads more than messages."""

Render = Callable[[Messages, bool], str]
"""Function from messages to text; the argument True starts the assistant's turn at the end."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields of an assistant's message that hold its reasoning, by the conventions of different models."""

FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", *REASONING)
"""Fields of a message that are kept; others (ids, dates) say nothing to a model."""

QUOTE = "\U000e01ef"
"""A character without width that quotes the name of a control token: after it, the name is ordinary text."""

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class Conversation(list[Message]):
    """Messages with the other arguments of their chat template.

    Args:
        messages: The messages.
        arguments: Arguments of the template by name: ``tools``, and what a row has in
            ``chat_template_kwargs``.
    """

    def __init__(self, messages: Iterable[Message], arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(messages)
        self.arguments = dict(arguments or {})


def arguments_of(messages: Messages) -> dict[str, Any]:
    """The other arguments of a conversation's template; empty for plain lists of messages."""
    return messages.arguments if isinstance(messages, Conversation) else {}


def extended(messages: Messages, more: Messages) -> Messages:
    """A conversation that goes on, with the same arguments."""
    both = [*messages, *more]
    return Conversation(both, messages.arguments) if isinstance(messages, Conversation) else both


def beginning(messages: Messages, count: int) -> Messages:
    """The first messages of a conversation, with the same arguments; a negative count leaves out the last."""
    some = messages[:count]
    return Conversation(some, messages.arguments) if isinstance(messages, Conversation) else some


def unquoted(text: str) -> str:
    """A text without the characters that quote control tokens: as people read it."""
    return text.replace(QUOTE, "")


def require_characters(text: str, name: str | None = None) -> None:
    """Refuse a text with half a character.

    Raises:
        InputError: The text has a lone surrogate, which no encoding has bytes for.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"{text[error.start]!a} at {error.start}"
        raise InputError(f"has a lone surrogate ({found}), which is half a character", field=name) from error


def dialogue(messages: Messages, opens: bool) -> str:
    r"""HH-RLHF's plain form: ``\n\nHuman: ...\n\nAssistant: ...``.

    Raises:
        InputError: The messages have what this form has no place for: tools, tool calls, names of speakers.
    """
    turns: list[str] = []
    for argument in arguments_of(messages):
        raise InputError(f"{_NO_PLACE} '{argument}'; the template 'chat' may have one", field=argument)
    for message in messages:
        if len(message) > 2:
            _require_plain(message)
        role, content = message["role"], message["content"]
        turns.append(f"\n\n{_SPEAKERS.get(role, role.title())}: {content}")
    return "".join(turns) + "\n\nAssistant:" if opens else "".join(turns)


_NO_PLACE = "the template 'dialogue' has no place for"


def _require_plain(message: Message) -> None:
    for name in FIELDS[2:]:
        # The results of tools are shown; which call they belong to is left out.
        if name in message and not (message["role"] == "tool" and name in ("name", "tool_call_id")):
            raise InputError(f"{_NO_PLACE} '{name}' of a message; the template 'chat' may have one")


@dataclass(frozen=True)
class Template:
    """A `Render` with an identity, so that data and models can check that they use the same one.

    Args:
        name: ``dialogue`` (HH-RLHF's plain format), ``chat`` (a tokenizer's chat template) or ``custom`` (a
            user's own function).
            function of the user's own).
        digest: Digest of the chat template; empty for the others.
        render: Function from messages to text, in which names of control tokens that a message holds are
            quoted (`QUOTE`).
        quote_prompt: Function from a prompt that is a text to the same text with its control tokens quoted.
        quote_completion: The same for a completion.
        lead: Text between an opened turn and the answer.
        end: Text that ends an assistant's turn, where it is not the end-of-text token.
        stops: Texts at which an answer ends.
    """

    name: str
    digest: str = ""
    render: Render = field(default=dialogue, compare=False, repr=False)
    quote_prompt: Callable[[str], str] = field(default=str, compare=False, repr=False)
    quote_completion: Callable[[str], str] = field(default=str, compare=False, repr=False)
    lead: str = field(default="", compare=False, repr=False)
    end: str = field(default="", compare=False, repr=False)
    stops: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __call__(self, messages: Messages, opens: bool) -> str:
        """See `Render`."""
        return self.render(messages, opens)

    def quote(self, decision: Decision) -> Decision:
        """A decision of texts without a template, its control tokens quoted."""
        return Decision(
            self.quote_prompt(decision.prompt), tuple(map(self.quote_completion, decision.options))
        )

    def trusting(self) -> Template:
        """The same template; texts may hold control tokens by name."""
        return replace(self, quote_prompt=str, quote_completion=str)

    def bare_answer(self, text: str) -> str:
        """What a model wrote in an opened turn as an answer: without the lead, up to where a turn begins."""
        ends = [i for stop in self.stops if (i := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].removeprefix(self.lead)

    def answer(self, text: str) -> str:
        """The answer to an opened turn, as it stands after it: with the lead, and the end of its turn.

        An empty answer is the end of text alone.
        """
        lead = "" if not text or text[0].isspace() else self.lead
        return f"{lead}{self.quote_completion(text)}{self.end if text else ''}"


DIALOGUE = Template("dialogue", lead=" ", stops=tuple(f"\n\n{name}:" for name in _SPEAKERS.values()))


def as_template(render: Render) -> Template:
    """A template unchanged, and any other function as a custom template."""
    if isinstance(render, Template):
        return render
    return DIALOGUE if render is dialogue else Template("custom", render=render)
