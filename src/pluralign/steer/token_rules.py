"""Rules that change a mixture's distribution of the next token: penalties, biases, grammars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.grammar import GrammarState


@dataclass(frozen=True)
class TokenRules:
    """Changes of the log-probabilities of the next token, before temperature, top-k and top-p.

    Penalties are those of OpenAI's API; they count generated tokens, not the prompt's.

    Args:
        presence_penalty: Number that is subtracted for each token that has been generated.
        frequency_penalty: Number that is subtracted for each time that a token has been generated.
        logit_bias: Token ids, and the number that is added for each.
        schema: JSON Schema that the text follows, as JSON.

    Raises:
        InputError: A number is not finite, or a token id is negative.
    """

    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    schema: str | None = None

    def __post_init__(self) -> None:
        numbers = (self.presence_penalty, self.frequency_penalty, *(bias for _, bias in self.logit_bias))
        if not all(abs(number) < float("inf") for number in numbers):
            raise InputError("must be finite", field="rules")
        if any(token < 0 for token, _ in self.logit_bias):
            raise InputError("token ids must be 0 or more", field="logit_bias")

    def __bool__(self) -> bool:
        return self != TokenRules()


class AppliedRules:
    """Rules of a text that is being written.

    Args:
        rules: The rules.
        tokens: Tokens of the text so far; read before each new one.
        grammar: State of the grammar, if the rules have a schema.
    """

    def __init__(self, rules: TokenRules, tokens: Sequence[int], grammar: GrammarState | None = None) -> None:
        self._rules, self._tokens, self._grammar = rules, tokens, grammar
        self._read = 0

    def apply(self, log_probs: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
        """The log-probabilities of the next token with all rules, not normalised."""
        rules, device = self._rules, log_probs.device
        found = log_probs.clone()
        if self._tokens and (rules.presence_penalty or rules.frequency_penalty):
            counts = Counter(self._tokens)
            ids = torch.tensor(list(counts), device=device)
            times = torch.tensor(list(counts.values()), device=device)
            found[ids] -= rules.presence_penalty + rules.frequency_penalty * times
        if rules.logit_bias:
            ids = torch.tensor([token for token, _ in rules.logit_bias], device=device)
            found[ids] += torch.tensor([bias for _, bias in rules.logit_bias], device=device)
        if self._grammar is not None:
            for token in self._tokens[self._read :]:
                self._grammar.add(token)
            self._read = len(self._tokens)
            found.masked_fill_(~self._grammar.allowed().to(device), -torch.inf)
        return found
