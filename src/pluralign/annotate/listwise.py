"""Listwise judges: all options of a decision are read together, each of them once at each place."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from pluralign.annotate.judge import Scorer, letter_log_probs
from pluralign.annotate.prompt import ListPrompt
from pluralign.annotate.rater import Rating, identity_of
from pluralign.core import Comparison, Decision, InputError, Objective, Segment
from pluralign.core.preference import Preference
from pluralign.core.splits import seed_for
from pluralign.lm.replies import Question, Replies, Writer, said

_TIE = 1e-9
"""Tolerance for equal scores: sums of the same numbers in another order differ by less."""


def latin_square(count: int) -> list[list[int]]:
    """Cyclic orders of ``count`` options; each option is at each place once."""
    return [[(place + shift) % count for place in range(count)] for shift in range(count)]


class ListwiseJudge:
    """Judge by the log-probabilities of the options' letters, in the cyclic orders of a Latin square.

    An option's score is its mean log-probability over the orders. A model that chooses option a at place p
    with probability proportional to exp(u(a) + b(p)) (Plackett-Luce with a bias for places) has scores that
    equal u up to a constant, because every option meets every b once. A decision with n options takes n
    questions, where `Judge` takes n (n - 1).

    Args:
        scorer: Local language model.
        prompt: Prompt file; None uses ``annotate/prompts/listwise.txt``.
        batch: Number of comparisons rated at once.

    Raises:
        InputError: The prompt file cannot be used.
    """

    def __init__(self, scorer: Scorer, *, prompt: str | Path | None = None, batch: int = 64) -> None:
        self._scorer, self._prompt, self.batch = scorer, ListPrompt(prompt), batch
        self._known: dict[tuple[str, ...], list[float]] = {}

    @property
    def name(self) -> str:
        """``listwise:MODEL``."""
        return f"listwise:{self._scorer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        return {
            "prompt": self._prompt.digest,
            "reads": "log_probs",
            "dtype": getattr(self._scorer, "dtype", ""),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return identity_of(self._scorer)

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains the ``scores`` of both options.

        Raises:
            InputError: The segments of a comparison are not options of one decision, or it has more than 26;
                or the model's log-probabilities are not numbers.
        """
        return [_compared(c, self._scores(decision_of(c), objective)) for c in comparisons]

    def _scores(self, decision: Decision, objective: Objective) -> list[float]:
        texts = tuple(_questions(self._prompt, decision, objective))
        if texts not in self._known:
            count = len(decision.options)
            rows = letter_log_probs(self._scorer, texts, tuple(ascii_uppercase[:count]))
            square = latin_square(count)
            self._known[texts] = [
                math.fsum(float(row[order.index(option)]) for order, row in zip(square, rows, strict=True))
                / count
                for option in range(count)
            ]
        return self._known[texts]


class ListwiseReplyJudge:
    """Judge by generated rankings, for endpoints, in the cyclic orders of a Latin square.

    An option's score is minus its mean rank. A reply that is no ranking of all options is malformed: the
    question is asked again up to ``re_asks`` times. If a ranking is still missing, all comparisons of the
    decision are ties, which ``info["unanswered"]`` distinguishes from others: without it, not every option
    has had every place.

    Args:
        writer: Model that generates the replies.
        prompt: Prompt file; None uses ``annotate/prompts/ranking.txt``.
        re_asks: Number of times to ask again after a malformed reply.
        max_new_tokens: Largest number of tokens of a reply; reasoning models need many.
        temperature: Sampling temperature of the replies.
        seed: Random seed of the replies.
        batch: Number of comparisons rated at once.

    Raises:
        InputError: The prompt file cannot be used.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        prompt: str | Path | None = None,
        re_asks: int = 2,
        max_new_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        batch: int = 64,
    ) -> None:
        self._replies = Replies(writer, re_asks, max_new_tokens, temperature)
        self._prompt, self._seed, self.batch = ListPrompt(prompt, ranks=True), seed, batch
        self._known: dict[str, Question[tuple[int, ...]]] = {}

    @property
    def name(self) -> str:
        """``listwise:MODEL``."""
        return f"listwise:{self._replies.writer.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        own = {"prompt": self._prompt.digest, "reads": "ranking", "seed": self._seed}
        return own | self._replies.settings

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains the ``scores`` of both options, or the ``malformed`` replies.

        Raises:
            InputError: See `ListwiseJudge.rate`, or the endpoint does not answer.
        """
        decisions = [decision_of(comparison) for comparison in comparisons]
        texts = [_questions(self._prompt, decision, objective) for decision in decisions]
        new = {
            text: self._question(text, len(decision.options))
            for decision, own in zip(decisions, texts, strict=True)
            for text in own
            if text not in self._known
        }
        self._replies.ask(list(new.values()))
        self._known.update(new)
        asked = [[self._known[text] for text in own] for own in texts]
        return [self._rating(*each) for each in zip(comparisons, asked, strict=True)]

    def _question(self, text: str, count: int) -> Question[tuple[int, ...]]:
        return Question(
            text,
            lambda reply: parse_ranking(reply, count),
            "Reply with all letters, the best answer first, separated by >, and nothing else.",
            lambda attempt: seed_for(f"{attempt}\0{text}", self._seed),
        )

    def _rating(self, comparison: Comparison, asked: Sequence[Question[tuple[int, ...]]]) -> Rating:
        malformed = [reply for question in asked for reply in question.malformed]
        info = {"malformed": malformed} if malformed else {}
        rankings = [question.answer for question in asked if question.answer is not None]
        if len(rankings) < len(asked):
            return Rating("tie", {**info, "unanswered": [question.answer is None for question in asked]})
        count = len(asked)
        scores = [
            -sum(
                ranking.index(order.index(option))
                for order, ranking in zip(latin_square(count), rankings, strict=True)
            ) / count
            for option in range(count)
        ]  # fmt: skip
        rating = _compared(comparison, scores)
        return Rating(rating.preference, {**rating.info, **info})


# Letters with commas are a ranking at the end of a line, and else only named ("of A, B, C I prefer C").
_RANKED = re.compile(
    r"[A-Z](?:\s*>\s*[A-Z])+|(?:^|:)[ \t]*[A-Z](?:[ \t]*,[ \t]*[A-Z])+[ \t.]*$", re.MULTILINE
)


def parse_ranking(reply: str, count: int) -> tuple[int, ...] | None:
    """Places of the answers from best to worst, such as (1, 0) for ``B > A``; None if the reply has no
    ranking of all of them, or several different ones. Thinking is ignored (`said`)."""
    text = said(reply).replace("*", "")
    found = {
        tuple(ascii_uppercase.index(letter) for letter in re.findall("[A-Z]", ranked))
        for ranked in _RANKED.findall(text)
    }
    whole = {ranking for ranking in found if sorted(ranking) == list(range(count))}
    return whole.pop() if len(whole) == 1 else None


def decision_of(comparison: Comparison) -> Decision:
    """The decision of which both segments are options.

    Raises:
        InputError: There is none, or it has more options than there are letters.
    """
    decisions = [segment.steps[0].decision for segment in (comparison.first, comparison.second)]
    steps = len(comparison.first.steps) + len(comparison.second.steps)
    if steps != 2 or decisions[0] != decisions[1]:
        raise InputError(
            "a listwise judge compares the options of one decision (--comparisons.of options), not segments",
            field="rater",
        )
    if len(decisions[0].options) > len(ascii_uppercase):
        raise InputError(
            f"a listwise judge reads at most {len(ascii_uppercase)} options, found "
            f"{len(decisions[0].options)}",
            field="rater",
        )
    return decisions[0]


def _questions(prompt: ListPrompt, decision: Decision, objective: Objective) -> list[str]:
    """One question for each row of the Latin square."""
    letters = ascii_uppercase[: len(decision.options)]
    return [
        prompt.fill(decision.prompt, [decision.options[option] for option in order], letters, objective)
        for order in latin_square(len(decision.options))
    ]


def _compared(comparison: Comparison, scores: Sequence[float]) -> Rating:
    one, other = (scores[_option(segment)] for segment in (comparison.first, comparison.second))
    preference: Preference = "tie" if abs(one - other) <= _TIE else "first" if one > other else "second"
    return Rating(preference, {"scores": [one, other]})


def _option(segment: Segment) -> int:
    return segment.steps[0].action
