"""Requests that are being answered: what is checked before, and their texts so far."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.lm.generation import stop_ids
from pluralign.lm.grammar import Grammars
from pluralign.lm.partial_text import PartialText
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.requests import Event, FinishReason, Request
from pluralign.steer.token_rules import AppliedRules, TokenRules


@dataclass
class RunningRequest:
    """A request that is being answered.

    Args:
        request: The request.
        policies: Weights of its policies, by number, without those of weight zero.
        uniforms: Random numbers of its tokens, from 0 to below 1.
        text: Its text so far.
        rules: Rules of its tokens; None without any.
    """

    request: Request
    policies: dict[int, float]
    uniforms: Float[np.ndarray, " tokens"]
    text: PartialText
    rules: AppliedRules | None

    @property
    def ids(self) -> Sequence[int]:
        """Token ids of its prompt and its text so far."""
        return [*self.request.prompt_ids, *self.text.ids]


class Admission:
    """Checks requests before any policy reads them.

    Args:
        rows: The policies.
    """

    def __init__(self, rows: PolicyRows) -> None:
        self._rows = rows
        self.stops = frozenset(stop_ids(rows.backbone))
        """Ids of the tokens that end a text."""
        self._grammars: Grammars | None = None

    def check(self, request: Request) -> RunningRequest:
        """The request with what its answer needs.

        Raises:
            InputError: A policy is unknown, the prompt is empty or too long, a token id is out of range, or a
                JSON Schema cannot be followed.
        """
        unknown = sorted(set(request.weights) - set(self._rows.names))
        if unknown:
            raise InputError(
                f"unknown objective {unknown[0]!r}; there are {', '.join(self._rows.names)}", field="weights"
            )
        limit = self._rows.context
        length = len(request.prompt_ids)
        most = 0 if request.silent else request.decoding.max_new_tokens
        if not length:
            raise InputError("the prompt is empty: it has no tokens")
        if limit is not None and length + most > limit:
            raise InputError(
                f"{length} prompt tokens and {most} new ones exceed the context of {limit}",
                field="max_new_tokens",
            )
        # A policy of weight zero gets no row and costs nothing.
        policies = {
            number: request.weights[name]
            for number, name in enumerate(self._rows.names)
            if request.weights.get(name, 0.0) > 0
        }
        if request.prompt_log_probs:
            for policy in policies:
                self._rows.predictions(policy, request.prompt_ids, lambda: length)
        uniforms = np.random.default_rng(request.seed).random(most)
        text = text_of(request, self._rows.backbone.tokenizer)
        return RunningRequest(request, policies, uniforms, text, self._applied(request.rules, text.ids))

    def _applied(self, rules: TokenRules, ids: Sequence[int]) -> AppliedRules | None:
        if not rules:
            return None
        width = self._rows.backbone.vocabulary_size
        for token, _ in rules.logit_bias:
            if token >= width:
                raise InputError(f"token ids must be below {width}, found {token}", field="logit_bias")
        if rules.schema is None:
            return AppliedRules(rules, ids)
        if self._grammars is None:
            self._grammars = Grammars(self._rows.backbone.tokenizer, width, sorted(self.stops))
        return AppliedRules(rules, ids, self._grammars.begin(rules.schema))


def text_of(request: Request, tokenizer: PreTrainedTokenizerBase) -> PartialText:
    """The text of a request before its first token."""
    before = request.prompt_ids[-1:] if request.joined else ()
    return PartialText(tokenizer, request.decoding.stop, request.lead, before=before)


def next_event(number: int, token: int, text: PartialText, stops: Collection[int], most: int) -> Event:
    """Append a token to a request's text.

    Args:
        number: Number of the request.
        token: Id of the token.
        text: Text so far.
        stops: Ids of the tokens that end a text.
        most: Largest number of tokens of the text.
    """
    ended = token in stops
    count = len(text.ids) + 1
    last = ended or count == most
    new, stopped = text.add(token, last)
    finish: FinishReason | None = "stop" if ended or stopped else "length" if last else None
    return Event(number, new, count, finish, certain=count if last and not stopped else text.begun)
