"""Log-probabilities of tokens in the formats of OpenAI's API."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from pluralign.lm.partial_text import PartialText
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
        # A word: some tokenizers omit the space of the token that a text begins with.
        self._word: list[int] = list(self._tokenizer("a", add_special_tokens=False)["input_ids"])

    def __getitem__(self, token: int) -> str:
        """The text of a token within a text; a part of a character is a replacement character."""
        text = self._known.get(token)
        if text is None:
            before, after = self.text(self._word), self.text([*self._word, token])
            alone = after[len(before) :] if after.startswith(before) else self.text([token])
            text = self._known[token] = alone
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

    def name(self, token: int) -> str:
        """The text of a token, or its bytes if it is a part of a character, such as ``bytes:\\xf0\\x9f``, as
        OpenAI's completions have it: different parts have the same text, a replacement character."""
        text = self[token]
        if _HALF not in text or (own := bytes(self.bytes(token))) == text.encode():
            return text
        return f"bytes:{repr(own)[2:-1]}"

    def text(self, tokens: Sequence[int]) -> str:
        """The text of several tokens together."""
        return str(self._tokenizer.decode(list(tokens)))

    def places(self, before: Sequence[int] = (), *, control: bool = False) -> Places:
        """Places of tokens in the text that they make; see `PartialText`."""
        return Places(PartialText(self._tokenizer, before=before, control=control))


class Places:
    """Number of characters of a text before each of its tokens.

    A token that the text leaves out has no characters, and the tokens of one character begin where it does.

    Args:
        text: The text before its first token.
    """

    def __init__(self, text: PartialText) -> None:
        self._text, self._length = text, 0

    def next(self, token: int) -> int:
        """The place of the next token."""
        place = self._length
        self._length += len(self._text.add(token, last=False)[0])
        return place


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
    found: Sequence[TokenLogProb | None], texts: TokenTexts, offsets: Sequence[int], first: int = 0
) -> dict[str, Any]:
    """The field ``logprobs`` of a completion's choice.

    Args:
        found: Log-probabilities of the tokens; None for the first one of a prompt.
        texts: Texts of the tokens.
        offsets: Number of characters of the choice's text before each of them.
        first: The first token of a prompt, which has no log-probability.
    """
    return {
        "tokens": [texts.name(first if one is None else one.token) for one in found],
        "token_logprobs": [None if one is None else _finite(one.log_prob) for one in found],
        "top_logprobs": [_by_text(one, texts) for one in found],
        "text_offset": list(offsets),
    }


def _by_text(one: TokenLogProb | None, texts: TokenTexts) -> dict[str, float] | None:
    """Log-probabilities of the most likely tokens and of the token itself, which may be one more."""
    if one is None:
        return None
    likeliest = {texts.name(token): _finite(log_prob) for token, log_prob in reversed(one.likeliest)}
    # Of two tokens with one text, this one is meant.
    return {**likeliest, texts.name(one.token): _finite(one.log_prob)}


def _entry(token: int, log_prob: float, texts: TokenTexts) -> dict[str, Any]:
    return {"token": texts[token], "logprob": _finite(log_prob), "bytes": texts.bytes(token)}


def _finite(log_prob: float) -> float:
    """The log-probability, or what OpenAI documents for very unlikely tokens: JSON has no infinity."""
    return max(log_prob, -9999.0)


@cache
def _bytes_by_character() -> dict[str, int]:
    """Bytes by the characters that stand for them in the names of tokens (GPT-2's)."""
    return {character: byte for byte, character in bytes_to_unicode().items()}
