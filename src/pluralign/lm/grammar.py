"""Texts that follow a JSON Schema: which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pluralign.core import InputError

# Models that are unsure write blanks; without a limit, some write nothing else.
_BLANKS = {"whitespace_pattern": r"[ \n]{0,16}"}
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""JSON Schema of any object."""


class Grammars:
    """Compiles JSON Schemas for a tokenizer, with llguidance.

    Args:
        tokenizer: Tokenizer of the model that writes.
        vocabulary: Number of logits of the model.
        stops: Ids of the tokens that end a text.

    Raises:
        InputError: llguidance is not installed, or the tokenizer is not a fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, stops: Sequence[int]) -> None:
        try:
            self._guidance: Any = import_module("llguidance")
        except ModuleNotFoundError as error:
            raise InputError("JSON Schemas need llguidance: pip install 'pluralign[serve]'") from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError("JSON Schemas need a fast tokenizer")
        self._vocabulary = vocabulary
        known = max(vocabulary, len(tokenizer))
        make: Any = import_module("llguidance.hf").from_tokenizer
        self._tokenizer = make(tokenizer, known, eos_token=list(stops))

    def begin(self, schema: str) -> GrammarState:
        """State before the first token of a text.

        Args:
            schema: JSON Schema, as JSON.

        Raises:
            InputError: The schema is invalid or cannot be followed; the error has the reason.
        """
        try:
            source = self._guidance.LLMatcher.grammar_from_json_schema(schema, defaults=_BLANKS)
        except ValueError as error:
            raise InputError(_line(error), field="schema") from error
        matcher = self._guidance.LLMatcher(self._tokenizer, source, log_level=0)
        if matcher.is_error():
            raise InputError(_line(matcher.get_error()), field="schema")
        return GrammarState(matcher, self._vocabulary)


class GrammarState:
    """How far a text has followed a grammar.

    Args:
        matcher: llguidance's matcher.
        vocabulary: Number of logits of the model.
    """

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """Which tokens may come next; an end-of-text token where the text may end.

        Raises:
            InputError: The schema is too complex to be followed.
        """
        marks = np.frombuffer(self._matcher.compute_logit_bias(), dtype=np.uint8)
        if self._matcher.is_error():
            raise InputError(_line(self._matcher.get_error()), field="schema")
        return torch.tensor(marks[: self._vocabulary] > 0)

    def add(self, token: int) -> None:
        """Append a token to the text."""
        self._matcher.consume_token(token)


def schema_text(schema: Mapping[str, Any]) -> str:
    """A JSON Schema as JSON."""
    return json.dumps(schema, ensure_ascii=False)


def _line(error: object) -> str:
    # llguidance appends its own state, with the text so far.
    return f"cannot be followed: {' '.join(str(error).partition('<state>')[0].split())[:200]}"
