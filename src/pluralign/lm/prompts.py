"""Prompts as text, and text as token ids: templates, the BOS token, and truncation.

A template turns messages into text; `prompt_ids` and `completion_ids` turn every text into token ids. Where
the tokenizer puts a BOS token before texts, a prompt therefore begins with exactly one, whether or not its
template wrote one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.core.messages import DIALOGUE, Messages, Template
from pluralign.lm.forest import Tree

# Goes into the digest of cached features: raise it when `render_decision` or `decision_tree` changes.
RENDERING_VERSION = 1


def _chat_template(known: PreTrainedTokenizerBase) -> Template:
    # transformers' types of templates are incomplete.
    tokenizer: Any = known
    if tokenizer.chat_template is None:
        raise InputError("the tokenizer has no chat template; use the template 'dialogue'", field="template")

    def render(messages: Messages, opens: bool) -> str:
        chat = [dict(m) for m in messages]
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens))

    return Template("chat", digest([str(tokenizer.chat_template).encode()]), render)


TEMPLATES: dict[str, Callable[[PreTrainedTokenizerBase], Template]] = {
    "dialogue": lambda tokenizer: DIALOGUE,
    "chat": _chat_template,
}
"""Templates that turn messages into text: HH-RLHF's plain dialogue, or the tokenizer's own chat template."""


def render_chat(tokenizer: PreTrainedTokenizerBase, chat: Messages | str) -> str:
    """A chat as text, up to where the model's reply begins, in the model's own template.

    A model without a template gets the contents of the messages, separated by empty lines.

    Args:
        tokenizer: Tokenizer with the template.
        chat: Messages, or the text of a single user message.

    Raises:
        InputError: A message lacks a role or a content.
    """
    messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(m) for m in chat]
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise InputError(f"a chat message needs the texts 'role' and 'content', found {message!r:.80}")
    if getattr(tokenizer, "chat_template", None) is None:
        return "\n\n".join(message["content"] for message in messages) + "\n\n"
    return _chat_template(tokenizer)(messages, True)


def render_decision(decision: Decision) -> tuple[str, list[str]]:
    """A decision as plain text: the prompt, and each option as its continuation."""
    return f"{decision.prompt.rstrip()}\n\nMy choice:", [f" {option.strip()}" for option in decision.options]


class PromptIds(NamedTuple):
    """Token ids of a prompt.

    Args:
        ids: Token ids, the BOS included.
        keep: Number of ids at the beginning that truncation leaves in place (1 with a BOS, else 0).
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
    text = prompt.removeprefix(str(tokenizer.bos_token)) if prefix else prompt
    return PromptIds([*prefix, *(encode(tokenizer, text) if text else [])], len(prefix))


def completion_ids(tokenizer: PreTrainedTokenizerBase, completion: str) -> list[int]:
    """Token ids of a whole completion: they end with exactly one end-of-text token.

    The line break that chat templates write after it is left out: a policy never writes it.
    """
    eos = tokenizer.eos_token_id
    closed = completion.rstrip()
    ids = encode(tokenizer, closed if closed.endswith(str(tokenizer.eos_token)) else completion)
    return ids if ids and ids[-1] == eos else [*ids, int(eos)]  # pyright: ignore[reportArgumentType]


def without_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text without the BOS that a template wrote, where the tokenizer puts one before texts itself."""
    return text.removeprefix(str(tokenizer.bos_token)) if bos_ids(tokenizer) else text


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The id of the BOS token that the tokenizer puts before every text, or an empty list."""
    ids = list(tokenizer("")["input_ids"])
    return ids[:1] if tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id] else []


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a stretch of text, without a BOS or other special tokens added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def decision_tree(tokenizer: PreTrainedTokenizerBase, decision: Decision) -> Tree:
    """A decision as a tree of tokens: its prompt, with its options as branches."""
    text, options = render_decision(decision)
    prompt = prompt_ids(tokenizer, text)
    return Tree(prompt.ids, [encode(tokenizer, option) for option in options], keep_first=prompt.keep)


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
