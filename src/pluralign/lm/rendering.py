"""Decisions and chats as the text, and the tokens, that a language model reads."""

from __future__ import annotations

from collections.abc import Callable

from transformers import PreTrainedTokenizerBase

from pluralign.core import Decision, InputError
from pluralign.core.messages import Messages, Render, dialogue
from pluralign.lm.forest import Tree

# Goes into the digest of cached features: raise it when a rendering below changes.
RENDERING_VERSION = 1


def render_decision(decision: Decision) -> tuple[str, list[str]]:
    """A decision as plain text: the prompt, and each option as its continuation."""
    return f"{decision.prompt.rstrip()}\n\nMy choice:", [f" {option.strip()}" for option in decision.options]


def _chat_template(tokenizer: PreTrainedTokenizerBase) -> Render:
    if tokenizer.chat_template is None:
        raise InputError("the tokenizer has no chat template; take the template 'dialogue'", field="template")
    return lambda messages, opens: str(
        tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=opens
        )
    )


TEMPLATES: dict[str, Callable[[PreTrainedTokenizerBase], Render]] = {
    "dialogue": lambda tokenizer: dialogue,
    "chat": _chat_template,
}
"""How messages become text: HH-RLHF's plain form, or the tokenizer's own chat template."""


def render_chat(tokenizer: PreTrainedTokenizerBase, chat: Messages | str) -> str:
    """A chat up to where the model's reply begins, in the model's own template.

    A text stands for one message of the user. A model without a template gets the contents of the
    messages, separated by empty lines.
    """
    messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(m) for m in chat]
    for message in messages:
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            raise InputError(f"a chat message needs the texts 'role' and 'content', found {message!r:.80}")
    if tokenizer.chat_template is None:
        return "\n\n".join(message["content"] for message in messages) + "\n\n"
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The ids of a text, without special tokens added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def prefix_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that this tokenizer puts before every text (a BOS, or nothing)."""
    ids = list(tokenizer("")["input_ids"])
    return ids[:1] if tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id] else []


def decision_tree(tokenizer: PreTrainedTokenizerBase, decision: Decision) -> Tree:
    """A decision as a tree of tokens: its prompt with its options as branches."""
    prompt, options = render_decision(decision)
    prefix = prefix_ids(tokenizer)
    branches = [encode(tokenizer, option) for option in options]
    return Tree([*prefix, *encode(tokenizer, prompt)], branches, keep_first=len(prefix))


def chat_ids(tokenizer: PreTrainedTokenizerBase, chat: Messages | str) -> tuple[list[int], int]:
    """The ids of a rendered chat, and how many of the first must stay when it is cut."""
    text = render_chat(tokenizer, chat)
    # A template writes its own BOS.
    prefix = [] if tokenizer.chat_template is not None else prefix_ids(tokenizer)
    ids = [*prefix, *encode(tokenizer, text)]
    return ids, int(bool(ids) and ids[0] == tokenizer.bos_token_id and bool(prefix_ids(tokenizer)))
