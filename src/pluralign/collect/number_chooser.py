"""A language model as a player: it reads numbered options and replies with a number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.collect.chooser import Choice, uniform
from pluralign.collect.prompt import ChoosePrompt
from pluralign.core import Decision
from pluralign.core.splits import seed_for
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.replies import Question, Replies, Writer, said

_BEGINS = re.compile(r"(?:option\s+)?(-?\d+)(?!\d|[.,]\d|\s*(?:or|and|to|/|,|-)\s*\d)", re.IGNORECASE)
_ANYWHERE = re.compile(r"(?<![\w.,])-?\d+(?!\w|[.,]\d)")
_LISTED = re.compile(r"(?:^|[\n;])\W*(\d+)\s*[.):]")
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|avoid|against|reject)|n['\u2019]t)(?:[^\w.;:!?]+\w+){0,3}?[^\w.;:!?]+\d",
    re.IGNORECASE,
)


class NumberChooser:
    """Presents numbered options and parses the number in the reply.

    A reply without a usable number is malformed. The model is asked again, with its reply in the chat; after
    ``re_asks`` such repetitions, a uniformly random option is taken. `Step.info` records this: ``malformed``
    lists the malformed replies, ``random`` marks a random option.

    Args:
        writer: Model that generates the replies.
        prompt: Prompt file; None uses ``collect/prompts/choose.txt``.
        re_asks: Number of times to ask again after a malformed reply.
        temperature: Sampling temperature of the replies; 0 selects the most likely tokens.
        max_new_tokens: Largest number of tokens of a reply; reasoning models need many.

    Raises:
        InputError: The prompt file cannot be used.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        prompt: str | Path | None = None,
        re_asks: int = 3,
        temperature: float = 1.0,
        max_new_tokens: int = 16,
    ) -> None:
        self._replies = Replies(writer, re_asks, max_new_tokens, temperature)
        self._prompt = ChoosePrompt(prompt)

    @property
    def name(self) -> str:
        """The writer's name."""
        return self._replies.writer.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"prompt": self._prompt.digest, **self._replies.settings}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return getattr(self._replies.writer, "identity", {})

    def choose(self, decisions: Sequence[Decision], seeds: Sequence[int]) -> list[Choice]:
        """See `Chooser.choose`.

        Raises:
            InputError: The endpoint does not answer.
        """
        asked = [self._question(decision, seed) for decision, seed in zip(decisions, seeds, strict=True)]
        self._replies.ask(asked)
        choices: list[Choice] = []
        for decision, seed, one in zip(decisions, seeds, asked, strict=True):
            if one.answer is None:
                action = int(uniform(seed_for("random option", seed)) * len(decision.options))
                choices.append(Choice(action, {"malformed": one.malformed, "random": True}))
            else:
                choices.append(Choice(one.answer, {"malformed": one.malformed} if one.malformed else {}))
        return choices

    def _question(self, decision: Decision, seed: int) -> Question[int]:
        count = len(decision.options)
        return Question(
            self._prompt.fill(decision),
            lambda reply: parse_number(reply, count),
            f"Answer with one number from 1 to {count} and nothing else.",
            lambda attempt: seed_for(str(attempt), seed),
        )


def endpoint_chooser(
    model: str,
    endpoint: EndpointSettings | None = None,
    *,
    prompt: str | Path | None = None,
    re_asks: int = 3,
    temperature: float = 1.0,
) -> NumberChooser:
    """A chooser at an OpenAI-compatible endpoint."""
    return NumberChooser(
        Endpoint(model, endpoint),
        prompt=prompt,
        re_asks=re_asks,
        temperature=temperature,
        # Reasoning models generate a few hundred tokens before the number.
        max_new_tokens=1024,
    )


def parse_number(reply: str, count: int) -> int | None:
    """The index, from 0, of the option that a reply names, or None.

    Thinking is ignored (`said`). A whole number at the start of the reply counts ("2. Sign it"),
    otherwise the only number in it ("I choose 2"). A reply with several numbers, with a number out of range,
    or with one that it rejects ("I would not choose 2"), names none, and neither does one that begins to list
    the options ("1. Wait", and "2. Sign it" in the next line).
    """
    text = said(reply).replace("*", "").strip(" \t\r\n#\"'`([")
    if len(set(_LISTED.findall(text))) > 1:
        return None
    begins = _BEGINS.match(text)
    numbers = {begins[1]} if begins else set(_ANYWHERE.findall(text))
    if len(numbers) != 1 or (not begins and _DENIED.search(text)):
        return None
    digits = numbers.pop()
    # Python refuses to parse numbers with thousands of digits.
    number = int(digits) if len(digits) < 10 else 0
    return number - 1 if 1 <= number <= count else None
