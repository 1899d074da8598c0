"""Conversations, and templates that render them to text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pluralign.core.errors import InputError
from pluralign.core.trajectory import Decision

Message = Mapping[str, Any]
"""A message: a role, a content (text, or None with tool calls), and further fields (`FIELDS`)."""

Messages = Sequence[Message]
"""A list of messages; a `Conversation` if its template has further arguments."""

Prompt = str | Messages
"""A text that is continued as it is, or messages that the template renders to text."""

Render = Callable[[Messages, bool], str]
"""Function from messages to text; the argument True starts the assistant's turn at the end."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Fields for the reasoning in an assistant's message, by the conventions of different models."""

FIELDS = ("role", "content", "name", "tool_calls", "tool_call_id", "function_call", *REASONING)
"""Fields of a message that are kept; others (ids, dates) carry no information for a model."""

QUOTE = "\U000e01ef"
"""A zero-width character that quotes the name of a control token: a name that follows it is ordinary text."""

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}


class Conversation(list[Message]):
    """Messages with further arguments of their chat template.

    Args:
        messages: Messages.
        arguments: Arguments of the template by name: ``tools``, and those in a row's
            ``chat_template_kwargs``.
    """

    def __init__(self, messages: Iterable[Message], arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__(messages)
        self.arguments = dict(arguments or {})


def arguments_of(messages: Messages) -> dict[str, Any]:
    """Further arguments of a conversation's template; empty for plain lists of messages."""
    return messages.arguments if isinstance(messages, Conversation) else {}


def extended(messages: Messages, more: Messages) -> Messages:
    """A conversation with more messages and the same arguments."""
    both = [*messages, *more]
    return Conversation(both, messages.arguments) if isinstance(messages, Conversation) else both


def beginning(messages: Messages, count: int) -> Messages:
    """The first messages of a conversation, with the same arguments; a negative count drops messages from the
    end."""
    some = messages[:count]
    return Conversation(some, messages.arguments) if isinstance(messages, Conversation) else some


def says_nothing(answer: str | Messages) -> bool:
    """Whether an answer has no text, no calls of tools and no reasoning."""
    if isinstance(answer, str):
        return not answer.strip()
    calls = ("tool_calls", "function_call", *REASONING)
    return not any((m.get("content") or "").strip() or any(m.get(name) for name in calls) for m in answer)


def unquoted(text: str) -> str:
    """A text without the characters that quote control tokens."""
    return text.replace(QUOTE, "")


def require_characters(text: str, name: str | None = None) -> None:
    """Refuse a text with a lone surrogate.

    Raises:
        InputError: The text has a lone surrogate, which cannot be encoded.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"{text[error.start]!a} at {error.start}"
        raise InputError(f"has a lone surrogate ({found}), which cannot be encoded", field=name) from error


def dialogue(messages: Messages, opens: bool) -> str:
    r"""HH-RLHF's plain format: ``\n\nHuman: ...\n\nAssistant: ...``.

    Raises:
        InputError: The messages have something that this format cannot express: tools, tool calls, names.
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


_NO_PLACE = "the template 'dialogue' cannot express"


def _require_plain(message: Message) -> None:
    for name in FIELDS[2:]:
        # Results of tools are included; the calls that they belong to are left out.
        if name in message and not (message["role"] == "tool" and name in ("name", "tool_call_id")):
            raise InputError(f"{_NO_PLACE} '{name}' of a message; the template 'chat' may have one")


@dataclass(frozen=True)
class Template:
    """A `Render` with an identity, so that data and models can check that they use the same one.

    Args:
        name: ``dialogue`` (HH-RLHF's plain format), ``chat`` (a tokenizer's chat template) or ``custom`` (a
            user's own function).
        digest: Digest of the chat template; empty for the others.
        render: Function from messages to text that quotes names of control tokens in messages (`QUOTE`).
        quote_prompt: Function that quotes names of control tokens in a text prompt.
        quote_completion: Function that quotes names of control tokens in a text completion.
        lead: Text between an opened turn and the answer.
        end: Text that ends an assistant's turn, if it is not the end-of-text token.
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
        """A decision with texts, with its control tokens quoted."""
        return Decision(
            self.quote_prompt(decision.prompt), tuple(map(self.quote_completion, decision.options))
        )

    def trusting(self) -> Template:
        """The same template without quoting: texts may contain control tokens by name."""
        return replace(self, quote_prompt=str, quote_completion=str)

    def bare_answer(self, text: str) -> str:
        """The answer in a model's output for an opened turn: without the lead, up to the next turn."""
        ends = [i for stop in self.stops if (i := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))].removeprefix(self.lead)

    def answer(self, text: str) -> str:
        """The answer as it follows an opened turn: with the lead and the end of its turn.

        An empty answer is the end of the turn alone, which a model writes that has nothing to say.
        """
        if not text:
            return self.end
        lead, quoted = "" if text[0].isspace() else self.lead, self.quote_completion(text)
        closed = bool(self.end) and quoted.rstrip().endswith(self.end)
        return f"{lead}{quoted}{'' if closed else self.end}"


DIALOGUE = Template("dialogue", lead=" ", stops=tuple(f"\n\n{name}:" for name in _SPEAKERS.values()))


def as_template(render: Render) -> Template:
    """A template unchanged, and any other function as a custom template."""
    if isinstance(render, Template):
        return render
    return DIALOGUE if render is dialogue else Template("custom", render=render)
