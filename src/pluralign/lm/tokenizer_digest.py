"""Digests of tokenizers, which tell those of one vocabulary apart by how they split texts."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from pluralign.core.digests import digest

_TEXTS = (
    "The quick brown Fox's 12345.67 jumps,  over\tthe\n\n lazy dog!? don't I'LL we're",
    " leading, trailing and   several spaces  \r\n\u00a0\u3000tabs\t\t",
    "na\u00efve cafe\u0301 Stra\u00dfe \ufb01ne \u00bd \u2460 \uff21\uff22 \u0130stanbul \u03a3\u03c3\u03c2",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u3053\u3093\u306b\u3061\u306f \u0645\u0631\u062d\u0628",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "def f(x_1):\n    return {'a': [x_1, 0x1F]}  # https://example.org/?q=1&b=2",
)
"""Texts with what normalizers and pre-tokenizers tell apart: case, digits, spaces, accents, scripts."""
_SAMPLED, _TOGETHER, _ADDED = 1 << 14, 32, 256


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Digest of the tokens of fixed texts, of texts from the vocabulary, and of added tokens within a text.

    What a tokenizer does is read, not how its files say it: those change with the versions of libraries.

    Args:
        tokenizer: A tokenizer.

    Returns:
        The digest, equal across processes.
    """
    known: Any = tokenizer
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda one: one[1])
    sampled = [token for token, _ in vocabulary[:: max(1, len(vocabulary) // _SAMPLED)]]
    # Without the marks of a word's beginning or end, most tokens are text again.
    plain = [token.replace("\u0120", " ").replace("\u2581", " ").removeprefix("##") for token in sampled]
    joined = ["".join(plain[start : start + _TOGETHER]) for start in range(0, len(plain), _TOGETHER)]
    added: list[str] = sorted(known.get_added_vocab())[:_ADDED]
    texts = [*_TEXTS, *joined, *(f"a {token} b{token}c" for token in added)]
    found: list[list[int]] = known(texts, add_special_tokens=False, verbose=False)["input_ids"]
    whole: list[int] = known(_TEXTS[0], verbose=False)["input_ids"]
    return digest([json.dumps([*found, whole]).encode()], size=8)
