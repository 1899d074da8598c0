"""Rewards of spans of a completion: its tokens and its sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pluralign.core.messages import unquoted

_SENTENCE = re.compile(r".+?(?:[.!?…]+[\"')\]]*(?=\s)|\n+|\Z)", re.DOTALL)


@dataclass(frozen=True)
class SpanReward:
    """Gaussian reward of a span of a completion.

    Args:
        text: Text of the span; empty for the end-of-text token.
        start: Position of its first character in the completion.
        mean: Mean of the reward.
        sigma: Standard deviation of the reward; 0 if the model does not estimate it.
    """

    text: str
    start: int
    mean: float
    sigma: float


def by_sentence(completion: str, tokens: Sequence[SpanReward]) -> list[SpanReward]:
    """Sum of the token rewards in every sentence (AVA eq. 19, per sentence).

    A token belongs to the sentence in which it begins, the end-of-text token to the last one. Places are, as
    in the tokens, those in the completion without quotes of control tokens.
    """
    completion = unquoted(completion)
    sentences = list(_SENTENCE.finditer(completion))
    starts = [match.start() for match in sentences]
    owner = [max(0, int(np.searchsorted(starts, t.start, side="right")) - 1) for t in tokens]
    spans: list[SpanReward] = []
    for number, match in enumerate(sentences):
        mine = [token for token, i in zip(tokens, owner, strict=True) if i == number]
        spread = float(np.sqrt(sum(token.sigma**2 for token in mine)))
        spans.append(SpanReward(match.group(), match.start(), sum(t.mean for t in mine), spread))
    return spans
