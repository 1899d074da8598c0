"""The chat template of a tokenizer: rendering, and what it does, found out from small conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.messages import (
    QUOTE,
    Message,
    Messages,
    arguments_of,
)
from pluralign.lm.control_tokens import ControlTokens
from pluralign.lm.template_marks import marked, shown_fields

# Words of the small conversations, which no template has.
_ASKED, _ANSWERED = "zqxask", "zqxanswer"
_USER: Message = {"role": "user", "content": _ASKED}
_ASSISTANT: Message = {"role": "assistant", "content": _ANSWERED}


class ChatTemplate:
    """A tokenizer with its chat template, if it has one; see `chat_template_of`.

    Args:
        tokenizer: Tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        # transformers' types of templates are incomplete.
        self._tokenizer: Any = tokenizer
        self.control = ControlTokens(tokenizer, self._markers())
        """Control tokens of the tokenizer."""

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages as text, with the names of control tokens in them quoted.

        Args:
            messages: Conversation.
            opens: Whether to end with the generation prompt.

        Raises:
            InputError: The template refuses the messages, or leaves out part of them.
        """
        arguments = arguments_of(messages)
        if not arguments and all(self._is_plain(message) for message in messages):
            return self._apply(messages, opens, arguments)
        quoted = [_changed(message, self.control.quote) for message in messages]
        quoted_arguments = _changed(arguments, self.control.quote)
        quoted = self._with_contents(quoted, opens, quoted_arguments)
        text = self._apply(quoted, opens, quoted_arguments)
        objects = [_with_objects(message, text) for message in quoted]
        if objects != quoted:
            quoted, text = objects, self._apply(objects, opens, quoted_arguments)
        if QUOTE in text or any(message is not own for message, own in zip(messages, quoted, strict=True)):
            self._require_quoted(text, messages, opens, arguments)
        self._require_all(text, quoted, opens, quoted_arguments)
        return text

    @cached_property
    def end_of_turn(self) -> str:
        """The control token that ends an assistant's turn; empty where there is none."""
        try:
            text = self._apply([_USER, _ASSISTANT], False, {})
        except InputError:
            return ""
        _, found, tail = text.rpartition(_ANSWERED)
        return self.control.ends(tail.rstrip()) if found else ""

    @cached_property
    def lead(self) -> str:
        """White space that the template writes between its generation prompt and an answer."""
        try:
            opened, text = self._apply([_USER], True, {}), self._apply([_USER, _ASSISTANT], False, {})
        except InputError:
            return ""
        found = text.removeprefix(opened).partition(_ANSWERED)[0] if text.startswith(opened) else ""
        return found if found.isspace() else ""

    def is_whole(self, text: str) -> bool:
        """Whether a text is a conversation that was written by this template already, up to the answer: it
        begins as the template's texts do, and ends with its generation prompt."""
        begins, ends = self._frame
        return bool(begins and ends) and text.startswith(begins) and text.endswith(ends)

    @cached_property
    def _frame(self) -> tuple[tuple[str, ...], str]:
        """How a text of the template can begin (up to its first control token), and its generation prompt;
        empty where these have no control token, so that they cannot be told from other texts."""
        try:
            closed, opened = (self._apply([_USER], opens, {}) for opens in (False, True))
        except InputError:
            return (), ""
        ends = opened.removeprefix(closed) if opened.startswith(closed) else ""
        head = opened.partition(_ASKED)[0]
        bos = str(self._tokenizer.bos_token or "")
        head = head.removeprefix(bos) if bos else head
        first = self.control.first(head)
        if not first or not self.control.count(ends or opened.partition(_ASKED)[2]):
            return (), ""
        return (first, bos + first) if bos else (first,), ends or opened.partition(_ASKED)[2]

    def _is_plain(self, message: Message) -> bool:
        """Whether a message is a text of one of the two speakers, in which there is nothing to quote."""
        content = message.get("content")
        return (
            len(message) == 2
            and message["role"] in ("user", "assistant")
            and isinstance(content, str)
            and not self.control.found_in(content)
        )

    def _with_contents(
        self, messages: list[Message], opens: bool, arguments: Mapping[str, Any]
    ) -> list[Message]:
        """Messages with empty texts for contents of None, where the template would write "None" or fail."""
        if all(message.get("content", "") is not None for message in messages):
            return messages
        empty = [{**m, "content": ""} if m.get("content", "") is None else m for m in messages]
        try:
            text = self._apply(messages, opens, arguments)
        except InputError:
            return empty
        return messages if text.count("None") <= self._apply(empty, opens, arguments).count("None") else empty

    def _markers(self) -> list[str]:
        """Added tokens that are not special and yet mark roles and turns."""
        added = [str(t.content) for t in self._tokenizer.added_tokens_decoder.values() if not t.special]
        # Words and white space are not markers, even where they are tokens of their own.
        others = [name for name in added if name.strip() and not name.isalnum()]
        if not others or self._tokenizer.chat_template is None:
            return []
        try:
            # An earlier answer has no thinking block in templates that write one.
            text = self._apply([_USER, _ASSISTANT, _USER], False, {})
        except InputError:
            return []
        return [name for name in others if name in text]

    def _apply(self, messages: Messages, opens: bool, arguments: Mapping[str, Any]) -> str:
        if self._takes_parts:
            messages = [_as_parts(message) for message in messages]
        return self._rendered(messages, opens, arguments)

    def _rendered(self, messages: Messages, opens: bool, arguments: Mapping[str, Any]) -> str:
        chat = [dict(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=opens, **arguments
            )
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"the chat template refuses the messages: {reason:.200}") from error
        return str(text)

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether contents have to be lists of parts, since the template leaves out texts."""
        message = {"role": "user", "content": _ASKED}
        found: list[bool] = []
        for one in (message, _as_parts(message)):
            try:
                found.append(_ASKED in self._rendered([one], False, {}))
            except InputError:
                found.append(False)
        return found == [False, True]

    def _require_quoted(
        self, text: str, messages: Messages, opens: bool, arguments: Mapping[str, Any]
    ) -> None:
        """Refuse names of control tokens that the template has changed so that they are no longer quoted."""
        plain = [_changed(message, self.control.removed) for message in messages]
        expected = self._apply(plain, opens, _changed(arguments, self.control.removed))
        if self.control.count(text) != self.control.count(expected):
            raise InputError(
                "the messages have the name of a control token, which the chat template does not keep apart "
                "from its own"
            )

    def _require_all(
        self, text: str, messages: Sequence[Message], opens: bool, arguments: Mapping[str, Any]
    ) -> None:
        """Refuse messages of which the template silently leaves out a part."""

        def same(others: Sequence[Message], left: Mapping[str, Any] = arguments) -> bool:
            return self._apply(others, opens, left) == text

        for name in arguments:
            rest = {key: value for key, value in arguments.items() if key != name}
            if name == "tools" and same(messages, rest):
                raise InputError("the chat template leaves out the tools", field="tools")
        for number in self._unseen(text, messages, opens, arguments):
            message = messages[number]
            role, content = message["role"], message.get("content")
            if len(message) > 2:
                self._require_fields(number, messages, opens, same)
            # Other roles than these two are those that templates may not know.
            if role in ("user", "assistant") or not content or content.strip() in text:
                continue
            changed = {**message, "content": f"{content} {_ASKED}"}
            if same([*messages[:number], changed, *messages[number + 1 :]]):
                raise InputError(f"the chat template leaves out messages of the role {role!r}")

    def _unseen(
        self, text: str, messages: Sequence[Message], opens: bool, arguments: Mapping[str, Any]
    ) -> Sequence[int]:
        """Places of messages of which the template does not show marks in everything that it might leave out.
        Only these are looked at one by one, for which all messages are rendered each time."""
        try:
            changed, marks = marked(messages, text, _ASKED, opens=opens)
            found = self._apply(changed, opens, arguments) if marks else ""
        except (InputError, LookupError, TypeError):
            return range(len(messages))
        return sorted({number for mark, number in marks.items() if mark not in found})

    def _require_fields(
        self, number: int, messages: Sequence[Message], opens: bool, same: Callable[[Sequence[Message]], bool]
    ) -> None:
        message = messages[number]
        for name in shown_fields(message, last=number == len(messages) - 1 and not opens):
            if name not in message:
                continue
            rest = {"content": "", **{key: value for key, value in message.items() if key != name}}
            rest["content"] = rest["content"] or ""
            if same([*messages[:number], rest, *messages[number + 1 :]]):
                raise InputError(f"the chat template leaves out '{name}' of message {number + 1}")


def _as_parts(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def _with_objects(message: Message, text: str) -> Message:
    """A message whose calls have objects as arguments, where they were JSON texts (OpenAI's format) that the
    template has encoded a second time."""
    calls: list[Any] = []
    for call in message.get("tool_calls", ()):
        function = _entry(call, "function")
        given = _entry(function, "arguments")
        if isinstance(given, str) and json.dumps(given, ensure_ascii=False) in text:
            with suppress(ValueError):
                call = {**call, "function": {**function, "arguments": json.loads(given)}}
        calls.append(call)
    return {**message, "tool_calls": calls} if calls else message


def _entry(value: Any, name: str) -> Any:
    """An entry of a mapping; None where there is no such entry, or no mapping."""
    return cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else None


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all of its texts changed; the same object where nothing changes."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        if len(items) == 2 and all(isinstance(one, str) and change(one) is one for one in items.values()):
            # A plain message, in which there is nothing to change.
            return items
        made = {_changed(key, change): _changed(one, change) for key, one in items.items()}
        return made if made != items else items
    if isinstance(value, list | tuple):
        given = cast("Sequence[Any]", value)
        parts = [_changed(one, change) for one in given]
        return parts if any(a is not b for a, b in zip(parts, given, strict=True)) else given
    return value


_KNOWN = "_pluralign_chat_template"


def chat_template_of(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The chat template of a tokenizer, with what is known of it from earlier calls.

    A changed template, BOS or end of text is noticed; control tokens that are added later are not.
    """
    known: Any = tokenizer
    # Kept by the tokenizer, which it refers to: a table with weak keys would keep both for ever.
    state = (id(tokenizer), known.chat_template, known.bos_token, known.eos_token)
    found: tuple[Any, ChatTemplate] | None = known.__dict__.get(_KNOWN)
    if found is None or found[0] != state:
        found = known.__dict__[_KNOWN] = state, ChatTemplate(tokenizer)
    return found[1]
