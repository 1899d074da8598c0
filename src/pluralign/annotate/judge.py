"""Language models as judges: each comparison is presented in both orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pluralign.annotate.letter import parse_letter
from pluralign.annotate.prompt import JudgePrompt
from pluralign.annotate.rater import Rating
from pluralign.core import Comparison, InputError, Objective
from pluralign.core.preference import Preference
from pluralign.core.splits import seed_for
from pluralign.lm.replies import Chat, Question, Replies, Writer

LETTERS = ("A", "B")


class Scorer(Protocol):
    """Scores answers: a `pluralign.lm.language_model.LanguageModel`."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def answer_log_probs(self, chats: Sequence[Chat], answers: Sequence[str]) -> npt.NDArray[np.float64]:
        """Log-probabilities in nats, shape (chats, answers)."""
        ...


def letter_log_probs(
    scorer: Scorer, chats: Sequence[Chat], letters: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Log-probabilities of letters as answers, shape (chats, letters).

    Raises:
        InputError: One is NaN, which a comparison would take for a preference.
    """
    scores = scorer.answer_log_probs(chats, letters)
    if np.isnan(scores).any():
        raise InputError(f"the log-probabilities of {scorer.name} are not numbers; float32 may help")
    return scores


Decide = Callable[[Sequence[float]], Preference]
"""Function from the log-odds of the first segment in both orders to a preference."""


def both_orders_agree(log_odds: Sequence[float]) -> Preference:
    """The common answer of both orders, or a tie if they differ."""
    return _agreed([_sign(o) for o in log_odds])


def mean_of_orders(log_odds: Sequence[float]) -> Preference:
    """The sign of the mean log-odds, in which a constant position bias cancels. For small models, whose
    position bias exceeds any preference: in a first trial smollm2-135m disagreed with itself on 8 of 8 pairs.
    This is weaker evidence than agreement; compare it with another rater."""
    return _sign(sum(log_odds))


class Judge:
    """Judge by the log-odds of the answers ``A`` and ``B``.

    Each comparison is presented twice, with positions exchanged. By default, different answers make a tie, so
    that a position bias cannot count as a preference.

    Args:
        scorer: A local language model.
        prompt: Prompt file; None uses ``annotate/prompts/judge.txt``.
        decide: `both_orders_agree` or `mean_of_orders`.
        batch: Number of comparisons rated at once.

    Raises:
        InputError: The prompt file cannot be used.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        prompt: str | Path | None = None,
        decide: Decide = both_orders_agree,
        batch: int = 16,
    ) -> None:
        self._scorer, self._prompt, self.batch = scorer, JudgePrompt(prompt), batch
        self._decide = decide
        self._known: dict[str, float] = {}

    @property
    def name(self) -> str:
        """``judge:MODEL``."""
        return f"judge:{self.model}"

    @property
    def model(self) -> str:
        """Name of the language model."""
        return self._scorer.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        return {
            "prompt": self._prompt.digest,
            "reads": "log_odds",
            "decide": getattr(self._decide, "__name__", repr(self._decide)),
            "dtype": getattr(self._scorer, "dtype", ""),
        }

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the model, which changes with its weights; empty if unknown."""
        return getattr(self._scorer, "identity", {})

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains both ``answers`` and both ``log_odds`` of the first segment.

        Raises:
            InputError: The model's log-probabilities are not numbers.
        """
        prompts = _both_orders(self._prompt, comparisons, objective)
        new = list(dict.fromkeys(text for pair in prompts for text in pair if text not in self._known))
        if new:
            scores = letter_log_probs(self._scorer, new, LETTERS)
            self._known.update(zip(new, (scores[:, 0] - scores[:, 1]).tolist(), strict=True))
        ratings: list[Rating | None] = []
        for listed, exchanged in prompts:
            odds = [self._known[listed], -self._known[exchanged]]
            answers: list[Preference] = [_sign(o) for o in odds]
            ratings.append(Rating(self._decide(odds), {"answers": answers, "log_odds": odds}))
        return ratings


class ReplyJudge:
    """Judge by generated replies, for endpoints, which provide no log-probabilities.

    A reply that names neither option is malformed: the question is asked again up to ``re_asks`` times. If it
    remains unanswered, the comparison is a tie, which ``info["unanswered"]`` (by order) tells from others.
    Order and agreement are as in `Judge`.

    Args:
        writer: Model that generates the replies.
        prompt: Prompt file; None uses ``annotate/prompts/judge.txt``.
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
        batch: int = 16,
    ) -> None:
        self._replies = Replies(writer, re_asks, max_new_tokens, temperature)
        self._prompt, self._seed, self.batch = JudgePrompt(prompt), seed, batch
        self._known: dict[str, Question[str]] = {}

    @property
    def name(self) -> str:
        """``judge:MODEL``."""
        return f"judge:{self.model}"

    @property
    def model(self) -> str:
        """Name of the language model."""
        return self._replies.writer.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Rater.settings`."""
        own = {"prompt": self._prompt.digest, "reads": "reply", "seed": self._seed}
        return own | self._replies.settings

    def rate(self, comparisons: Sequence[Comparison], objective: Objective) -> list[Rating | None]:
        """See `Rater.rate`; ``info`` contains both ``answers`` and the ``malformed`` replies.

        Raises:
            InputError: The endpoint does not answer.
        """
        prompts = _both_orders(self._prompt, comparisons, objective)
        self._ask(list(dict.fromkeys(t for pair in prompts for t in pair if t not in self._known)))
        ratings: list[Rating | None] = []
        for listed, exchanged in prompts:
            asked = (self._known[listed], self._known[exchanged])
            answers: list[Preference] = [_named(asked[0].answer, "A"), _named(asked[1].answer, "B")]
            info: dict[str, Any] = {"answers": answers}
            malformed = asked[0].malformed + asked[1].malformed
            if malformed:
                info["malformed"] = malformed
            if None in (missing := [one.answer for one in asked]):
                info["unanswered"] = [answer is None for answer in missing]
            ratings.append(Rating(_agreed(answers), info))
        return ratings

    def _ask(self, texts: Sequence[str]) -> None:
        def question(text: str) -> Question[str]:
            seed: Callable[[int], int] = lambda attempt: seed_for(f"{attempt}\0{text}", self._seed)  # noqa: E731
            return Question(text, parse_letter, "Answer with one letter, A or B, and nothing else.", seed)

        questions = [question(text) for text in texts]
        self._replies.ask(questions)
        self._known.update({one.text: one for one in questions})


def _both_orders(
    prompt: JudgePrompt, comparisons: Sequence[Comparison], objective: Objective
) -> list[tuple[str, str]]:
    ask: Callable[[Comparison], str] = lambda c: prompt.fill(c, objective)  # noqa: E731
    return [(ask(c), ask(Comparison(c.second, c.first))) for c in comparisons]


def _named(letter: str | None, for_first: str) -> Preference:
    if letter is None:
        return "tie"
    return "first" if letter == for_first else "second"


def _sign(log_odds: float) -> Preference:
    if log_odds == 0:
        return "tie"
    return "first" if log_odds > 0 else "second"


def _agreed(answers: Sequence[Preference]) -> Preference:
    return answers[0] if answers[0] == answers[1] else "tie"
