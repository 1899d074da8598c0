"""Blocks of a text that is being written: where a sentence or a line ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

BlockKind = Literal["sentences", "lines", "tokens"]
"""Unit of a block; blocks of tokens have no end of their own, only a largest length."""

_LINE = re.compile(r"\n\s*\Z")
# A full stop after a digit is a decimal point or the number of a list's item, as far as can be known yet.
_SENTENCE = re.compile(r"(?:[!?…。！？]|(?<!\d)\.)[\"'”’)\]*_]*\s*\Z|\n\s*\Z")
_ENDS = {"sentences": _SENTENCE, "lines": _LINE, "tokens": None}


class BlockEnds:
    """Finds the ends of blocks, token by token.

    A sentence ends with a punctuation mark or a line; a block has a letter or a digit at least.

    >>> from pluralign.lm.backbone import load_backbone
    >>> tokenizer = load_backbone("tiny-random").tokenizer
    >>> ends = BlockEnds(tokenizer, "sentences")
    >>> [ends.add(token) for token in tokenizer.encode("a. b", add_special_tokens=False)]
    [False, True, False, False]

    Args:
        tokenizer: Tokenizer of the model that writes.
        kind: Unit of a block.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, kind: BlockKind) -> None:
        self._tokenizer, self._pattern = tokenizer, _ENDS[kind]
        self._ids: list[int] = []

    def add(self, token: int) -> bool:
        """Append a token; whether a block ends with it."""
        if self._pattern is None:
            return False
        self._ids.append(token)
        tokenizer: Any = self._tokenizer
        text = str(tokenizer.decode(self._ids, skip_special_tokens=True))
        ended = self._pattern.search(text) is not None and any(letter.isalnum() for letter in text)
        if ended:
            self._ids = []
        return ended


def sentence_ends(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[bool]:
    """Whether each token of a completion ends a sentence; its last token does so in any case.

    Args:
        tokenizer: Tokenizer of the completion.
        ids: Token ids of the completion, at least one.
    """
    ends = BlockEnds(tokenizer, "sentences")
    return [*(ends.add(token) for token in ids[:-1]), True]
