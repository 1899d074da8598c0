"""Log-probabilities of tokens in the formats of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from pluralign.steer.requests import TokenLogProb

_HALF = "\N{REPLACEMENT CHARACTER}"
# SentencePiece's name of a token that is a single byte.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class TokenTexts:
    """Texts of single tokens.

    Args:
        tokenizer: Tokenizer, of which a copy is used, because others may use it at the same time.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer: Any = deepcopy(tokenizer)
        self._known: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """The text of a token; a part of a character is a replacement character."""
        text = self._known.get(token)
        if text is None:
            text = self._known[token] = str(self._tokenizer.decode([token]))
        return text

    def bytes(self, token: int) -> list[int]:
        """The bytes of a token, which may be a part of a character."""
        text = self[token]
        if _HALF in text:
            name = str(self._tokenizer.convert_ids_to_tokens(token))
            if found := _BYTE.fullmatch(name):
                return [int(found[1], 16)]
            known = _bytes_by_character()
            if all(character in known for character in name):
                return [known[character] for character in name]
        return list(text.encode())

    def text(self, tokens: Sequence[int]) -> str:
        """The text of several tokens together."""
        return str(self._tokenizer.decode(list(tokens)))


def chat_log_probs(found: Sequence[TokenLogProb], texts: TokenTexts) -> dict[str, Any]:
    """The field ``logprobs`` of a chat completion's choice."""
    return {
        "content": [
            {
                **_entry(one.token, one.log_prob, texts),
                "top_logprobs": [_entry(token, log_prob, texts) for token, log_prob in one.likeliest],
            }
            for one in found
        ],
        "refusal": None,
    }


def completion_log_probs(
    found: Sequence[TokenLogProb | None], texts: TokenTexts, first: int = 0, start: int = 0
) -> dict[str, Any]:
    """The field ``logprobs`` of a completion's choice.

    Args:
        found: Log-probabilities of the tokens; None for the first one of a prompt.
        texts: Texts of the tokens.
        first: The first token of a prompt, which has no log-probability.
        start: Number of characters before the first of these tokens.
    """
    tokens = [texts[first if one is None else one.token] for one in found]
    offsets: list[int] = []
    for token in tokens:
        offsets.append(start)
        start += len(token)
    return {
        "tokens": tokens,
        "token_logprobs": [None if one is None else one.log_prob for one in found],
        "top_logprobs": [
            None if one is None else {texts[token]: log_prob for token, log_prob in reversed(one.likeliest)}
            for one in found
        ],
        "text_offset": offsets,
    }


def _entry(token: int, log_prob: float, texts: TokenTexts) -> dict[str, Any]:
    return {"token": texts[token], "logprob": max(log_prob, -9999.0), "bytes": texts.bytes(token)}


@cache
def _bytes_by_character() -> dict[str, int]:
    """Bytes by the characters that stand for them in the names of tokens (GPT-2's)."""
    return {character: byte for byte, character in bytes_to_unicode().items()}
