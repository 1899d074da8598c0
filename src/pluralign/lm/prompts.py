"""Prompts as text, and text as token ids: templates, the BOS token, and truncation.

A template turns messages into text; `prompt_ids` and `completion_ids` turn every text into token ids. Where
the tokenizer puts a BOS token before texts, a prompt therefore begins with exactly one, whether or not its
template wrote one. In all of these texts, names of control tokens that users or models wrote are quoted:
templates do so with contents, `quoted_prompt` and `quoted_completion` with texts that have no template.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.digests import digest
from pluralign.core.messages import DIALOGUE, QUOTE, Messages, Template, dialogue, require_characters
from pluralign.lm.bos import bos_ids, bos_text, without_bos
from pluralign.lm.chat_template import ChatTemplate, chat_template_of

_log = logging.getLogger(__name__)


def _chat_template(tokenizer: PreTrainedTokenizerBase, control_tokens: bool = False) -> Template:
    known: Any = tokenizer
    if known.chat_template is None:
        raise InputError("the tokenizer has no chat template; use the template 'dialogue'", field="template")
    chat, quotes = chat_template_of(tokenizer), _quotes(tokenizer, control_tokens)
    same = digest([str(known.chat_template).encode()])
    end = "" if chat.end_of_turn == str(known.eos_token) else chat.end_of_turn
    return Template("chat", same, chat.render, *quotes, lead=chat.lead, end=end)


def _dialogue(tokenizer: PreTrainedTokenizerBase, control_tokens: bool = False) -> Template:
    quote = chat_template_of(tokenizer).control.quote

    def render(messages: Messages, opens: bool) -> str:
        return quote(dialogue(messages, opens))

    prompt, completion = _quotes(tokenizer, control_tokens)
    return replace(DIALOGUE, render=render, quote_prompt=prompt, quote_completion=completion)


TEMPLATES: dict[str, Callable[..., Template]] = {"dialogue": _dialogue, "chat": _chat_template}
"""Templates that turn messages into text: HH-RLHF's plain dialogue, or the tokenizer's own chat template.
Each is a function of a tokenizer, and of whether texts may hold control tokens (False by default)."""


def quoted(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text of users or models with the names of control tokens quoted, so that they are ordinary text.

    Raises:
        InputError: The text has a lone surrogate.
    """
    require_characters(text)
    return chat_template_of(tokenizer).control.quote(text)


def quoted_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A prompt that is a text, with the names of control tokens quoted.

    Left as they are: the BOS at its beginning (every prompt has one), and a text that is a whole conversation
    in the tokenizer's own chat template, up to its generation prompt.
    """
    chat, body = chat_template_of(tokenizer), without_bos(tokenizer, text)
    if chat.is_whole(text):
        return text
    return text.removesuffix(body) + _said(chat, quoted(tokenizer, body))


def quoted_completion(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A completion that is a text, with the names of control tokens quoted, but for an end of text or of the
    assistant's turn at its end."""
    chat = chat_template_of(tokenizer)
    closed = text.rstrip()
    for end in (str(tokenizer.eos_token or ""), chat.end_of_turn):
        if end and closed.endswith(end):
            body = closed.removesuffix(end)
            return _said(chat, quoted(tokenizer, body)) + text[len(body) :]
    return _said(chat, quoted(tokenizer, text))


def sample_texts(tokenizer: PreTrainedTokenizerBase, *, turns: bool) -> Callable[[str], str]:
    """The function from what a model wrote to the text of a completion: names of control tokens are quoted.

    Args:
        tokenizer: Tokenizer of the model.
        turns: Whether it answers messages in the tokenizer's chat template; the end of its turn, which
            samples are without, is then added, as the template adds it to answers in data.
    """
    return _chat_template(tokenizer).answer if turns else partial(quoted_completion, tokenizer)


def _quotes(
    tokenizer: PreTrainedTokenizerBase, control_tokens: bool
) -> tuple[Callable[[str], str], Callable[[str], str]]:
    if control_tokens:
        return str, str
    return partial(quoted_prompt, tokenizer), partial(quoted_completion, tokenizer)


def _said(chat: ChatTemplate, text: str) -> str:
    """The text, after a warning where it has quoted names."""
    if QUOTE in text:
        _warn_once(chat.control.first(text.partition(QUOTE)[2]))
    return text


@cache
def _warn_once(name: str) -> None:
    _log.warning(
        "a text has %r, the name of a control token, which is read as ordinary text; with the option "
        "control-tokens it is read as the token",
        name,
    )


def render_chat(tokenizer: PreTrainedTokenizerBase, chat: Messages | str) -> str:
    """A chat as text, up to where the model's reply begins, in the model's own template.

    A model without a template gets the contents of the messages, separated by empty lines.

    Args:
        tokenizer: Tokenizer with the template.
        chat: Messages, or the text of a single user message.

    Raises:
        InputError: A message lacks a role or a content, or the template refuses the messages.
    """
    messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(m) for m in chat]
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise InputError(f"a chat message needs the texts 'role' and 'content', found {message!r:.80}")
        require_characters(message["content"])
    if getattr(tokenizer, "chat_template", None) is None:
        return quoted(tokenizer, "\n\n".join(message["content"] for message in messages) + "\n\n")
    return chat_template_of(tokenizer).render(messages, True)


class PromptIds(NamedTuple):
    """Token ids of a prompt.

    Args:
        ids: Token ids, the BOS included.
        keep: Number of ids at the beginning that truncation leaves in place: those of the BOS (`bos_ids`).
    """

    ids: list[int]
    keep: int = 0

    def truncated(self, length: int) -> PromptIds:
        """At most ``length`` ids: the BOS and the end of the text, the beginning of the text cut off."""
        excess = max(0, len(self.ids) - length)
        return PromptIds(self.ids[: self.keep] + self.ids[self.keep + excess :], self.keep)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> PromptIds:
    """Token ids of a prompt, with exactly one BOS token where the tokenizer puts one before texts.

    Args:
        tokenizer: Tokenizer of the model that reads the prompt.
        prompt: Text as it stands, or messages rendered by a template, with or without a written BOS.
    """
    prefix = bos_ids(tokenizer)
    text = prompt.removeprefix(bos_text(tokenizer, prefix))
    return PromptIds([*prefix, *(encode(tokenizer, text) if text else [])], len(prefix))


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, completion: str, before: Sequence[int] = ()
) -> list[int]:  # fmt: skip
    """Token ids of a whole completion: they end with exactly one end-of-text token, or with the token by
    which the chat template ends an assistant's turn.

    The line break that chat templates write after it is left out: a policy never writes it.

    Args:
        tokenizer: Tokenizer.
        completion: Text.
        before: Token ids of its prompt (`encode_after`); none where a decoder reads it as a text of its own.
    """
    eos = tokenizer.eos_token_id
    closed = completion.rstrip()
    if _ends_with(closed, chat_template_of(tokenizer).end_of_turn):
        return encode_after(tokenizer, closed, before)
    text = closed if _ends_with(closed, str(tokenizer.eos_token)) else completion
    ids = encode_after(tokenizer, text, before)
    return ids if ids and ids[-1] == eos else [*ids, int(eos)]  # pyright: ignore[reportArgumentType]


def _ends_with(text: str, name: str) -> bool:
    """Whether a text ends with a control token, its name not quoted."""
    return bool(name) and text.endswith(name) and not text.endswith(QUOTE + name)


def end_of_turn_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The id of the token by which the chat template ends an assistant's turn, or an empty list."""
    name = chat_template_of(tokenizer).end_of_turn
    return [int(tokenizer.convert_tokens_to_ids(name))] if name else []  # pyright: ignore


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a stretch of text, without a BOS or other special tokens added.

    Raises:
        InputError: The text has a lone surrogate.
    """
    if QUOTE in text:
        return chat_template_of(tokenizer).control.encode(text)[0]
    try:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except (TypeError, UnicodeEncodeError):
        require_characters(text)
        raise


def encode_after(tokenizer: PreTrainedTokenizerBase, text: str, before: Sequence[int]) -> list[int]:
    """Token ids of a text that goes on where other text ends: without the space that some tokenizers put
    before the first word of a text.

    Args:
        tokenizer: Tokenizer.
        text: Text; see `encode`.
        before: Token ids of what is before it; none, or a BOS alone, is the beginning of a text.
    """
    if not text or _begins(tokenizer, before):
        return encode(tokenizer, text)
    require_characters(text)
    return encode_with_places(tokenizer, text, before)[0]


def encode_with_places(
    tokenizer: PreTrainedTokenizerBase, text: str, before: Sequence[int] = ()
) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids as `encode_after` gives them, and the place of each in the unquoted text."""
    control = chat_template_of(tokenizer).control
    name = "" if _begins(tokenizer, before) else control.name_of(before[-1])
    if name:
        # After an added token tokenizers begin anew, each in its own way.
        ids, places = encode_with_places(tokenizer, name + text)
        if ids[:1] == [before[-1]]:
            return ids[1:], [(a - len(name), b - len(name)) for a, b in places[1:]]
    elif not _begins(tokenizer, before):
        return control.encode(text, goes_on=True)
    if QUOTE in text:
        return control.encode(text)
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(found["input_ids"]), list(found["offset_mapping"])


def _begins(tokenizer: PreTrainedTokenizerBase, before: Sequence[int]) -> bool:
    """Whether a text after these tokens is read as one that begins, as all are by most tokenizers."""
    spaces = chat_template_of(tokenizer).control.puts_space_first
    return not spaces or list(before) in ([], bos_ids(tokenizer))


def fit_prompts(
    prompts: Sequence[PromptIds], context: int | None, new_tokens: int
) -> tuple[list[list[int]], int]:
    """Truncate prompts so that prompt and new tokens fit the context; the ends of the prompts stay.

    Args:
        prompts: Token ids of each prompt.
        context: Number of tokens that the model reads at most (`trunk.context_length`); None for no limit.
        new_tokens: Number of tokens to be written after each prompt.

    Returns:
        The ids of each prompt, and the number of prompts that were truncated.

    Raises:
        InputError: The new tokens alone fill the context, or a prompt has no token.
    """
    fitted: list[list[int]] = []
    cut = 0
    for number, prompt in enumerate(prompts, start=1):
        if not prompt.ids:
            raise InputError("a prompt has no token that a completion could follow", row=number)
        excess = 0 if context is None else max(0, len(prompt.ids) + new_tokens - context)
        if excess and len(prompt.ids) - prompt.keep - excess < 1:
            raise InputError(
                f"must be less than the context of {context}, found {new_tokens}", field="max_new_tokens"
            )
        cut += excess > 0
        fitted.append(prompt.truncated(len(prompt.ids) - excess).ids)
    return fitted, cut
