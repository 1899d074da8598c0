"""Decisions as texts and as trees of tokens."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pluralign.core import Decision
from pluralign.lm.chat_template import chat_template_of
from pluralign.lm.forest import Tree
from pluralign.lm.prompts import encode_after, prompt_ids, quoted, quoted_prompt


def rendering_version(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number that goes into the digest of cached features: raise it when `render_decision` or `decision_tree`
    changes."""
    # Version 1 put a second space before options where the tokenizer puts one before first words.
    return 2 if chat_template_of(tokenizer).control.puts_space_first else 1


def render_decision(decision: Decision) -> tuple[str, list[str]]:
    """A decision as plain text: the prompt, and each option as its continuation."""
    return f"{decision.prompt.rstrip()}\n\nMy choice:", [f" {option.strip()}" for option in decision.options]


def decision_tree(tokenizer: PreTrainedTokenizerBase, decision: Decision) -> Tree:
    """A decision as a tree of tokens: its prompt, with its options as branches."""
    text, options = render_decision(decision)
    prompt = prompt_ids(tokenizer, quoted_prompt(tokenizer, text))
    branches = [encode_after(tokenizer, quoted(tokenizer, option), prompt.ids) for option in options]
    return Tree(prompt.ids, branches, keep_first=prompt.keep)
