"""What a tokenizer puts before every text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase


def without_bos(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text without the BOS that a template wrote, where the tokenizer puts one before texts itself."""
    return text.removeprefix(bos_text(tokenizer))


def bos_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int] | None = None) -> str:
    """The BOS that the tokenizer puts before every text, by name; empty where it puts none.

    Args:
        tokenizer: Tokenizer.
        ids: Its ids (`bos_ids`), where they are known.
    """
    known: Any = tokenizer
    return "".join(known.convert_ids_to_tokens(bos_ids(tokenizer) if ids is None else ids))


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids that the tokenizer puts before every text: a BOS mostly, two tokens of GLM's, the language
    of translators'; or an empty list. An end-of-text token after every text is none of them."""
    ids, own = (list(tokenizer("a", add_special_tokens=flag)["input_ids"]) for flag in (True, False))
    places = [i for i in range(len(ids)) if own and ids[i : i + len(own)] == own]
    return ids[: places[0]] if places else []
