"""Requests to a decoder, and the events that answer them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.steer.token_rules import TokenRules

FinishReason = Literal["stop", "length"]
# Limits on rows and prompt tokens that `generate` decodes together; they bound its memory.
_ROWS = 128
_PROMPT_TOKENS = 32768


@dataclass(frozen=True)
class Request:
    """A prompt to continue, and the mixture that continues it.

    Args:
        prompt_ids: Token ids of the prompt, at least one.
        weights: Weights of the policies, by name; a policy that is not named has weight zero.
        decoding: Sampling settings.
        seed: Random seed of this request; its tokens do not depend on other requests.
        lead: Text of a template before the answer, which is not part of it.
        rules: Rules that change the distribution of the next token.
        alternatives: Number of most likely tokens that are reported with the log-probability of each new
            token; None reports no log-probabilities.
        prompt_log_probs: Whether log-probabilities of the prompt's tokens are reported, too; needs
            ``alternatives``.
        joined: Whether the text goes on where the prompt ends, so that a space before its first word is part
            of it, whatever the tokenizer omits before first words.
        silent: Whether nothing is generated: only the prompt's log-probabilities are computed, if any.
    """

    prompt_ids: Sequence[int]
    weights: SteeringWeights
    decoding: Decoding = field(default_factory=Decoding)
    seed: int = 0
    lead: str = ""
    rules: TokenRules = field(default_factory=TokenRules)
    alternatives: int | None = None
    prompt_log_probs: bool = False
    joined: bool = False
    silent: bool = False


@dataclass(frozen=True)
class TokenLogProb:
    """Log-probability of a token under the mixture, before rules and sampling settings.

    Args:
        token: Id of the token.
        log_prob: Its log-probability in nats.
        likeliest: Ids of the most likely tokens there with their log-probabilities, in decreasing order.
    """

    token: int
    log_prob: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Event:
    """The next piece of a request's text.

    Args:
        request: Number of the request, as returned by `MixtureDecoder.admit`.
        text: New text; empty while a character or a stop text may be incomplete.
        tokens: Number of tokens generated so far.
        finish_reason: "stop" after an end-of-text token or a stop text, "length" at the limit; None before
            the end.
        log_prob: Log-probability of the new token, if the request asks for it.
        prompt: Log-probabilities of the prompt's tokens, the first of which has none, if the request asks for
            them; in the first event only, which has no new token.
        certain: Number of generated tokens that are certainly part of the text. Those after it may belong to
            a stop text, which is no part of it.
        error: Why the request was given up before its text was complete; it has a finish reason all the same.
    """

    request: int
    text: str
    tokens: int
    finish_reason: FinishReason | None
    log_prob: TokenLogProb | None = None
    prompt: Sequence[TokenLogProb | None] | None = None
    certain: int = 0
    error: InputError | None = None


def prompt_tokens(requests: Sequence[Request]) -> int:
    """Number of prompt tokens that are read, once for each policy: equal prompts are read together."""
    read = {
        (name, tuple(request.prompt_ids))
        for request in requests
        for name, weight in request.weights.items()
        if weight > 0
    }
    return sum(len(ids) for _, ids in read)


def fits(rows: int, tokens: int) -> bool:
    """Whether this number of rows and of their prompts' tokens is decoded together."""
    return rows <= _ROWS and tokens <= _PROMPT_TOKENS


def parts(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Requests in order, in parts within two limits on the policies' rows."""
    part: list[Request] = []
    rows = tokens = 0
    for request in requests:
        own = sum(weight > 0 for weight in request.weights.values())
        if part and not fits(rows + own, tokens + own * len(request.prompt_ids)):
            yield part
            part, rows, tokens = [], 0, 0
        part.append(request)
        rows, tokens = rows + own, tokens + own * len(request.prompt_ids)
    if part:
        yield part
