"""Who is asked about pairs of outcomes: raters, models by letters or by likelihoods, policies, functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

import pluralign.annotate
from pluralign.annotate.judge import Judge, Scorer
from pluralign.annotate.rater import Rater, Rating, identity_of, is_answered
from pluralign.annotate.reward_rater import RewardRater
from pluralign.core import Comparison, Decision, InputError, Objective, Policy, Segment, Step
from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.core.preference import EXCHANGED, Preference
from pluralign.lm.language_model import OptionLikelihoods

Pair = tuple[str, str]
"""Texts of two outcomes."""

OUTCOMES_PROMPT = Path(pluralign.annotate.__file__).parent / "prompts" / "judge_outcomes.txt"
"""Prompt of judges of outcomes."""
QUESTION = "Which of these two states of the world do you prefer?"
PREFERENCE = Objective("preference", description=QUESTION)
"""Objective of comparisons of outcomes."""


class Chooser(Protocol):
    """Anything that can be asked about pairs of outcomes."""

    @property
    def name(self) -> str:
        """Name in reports."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings that the answers depend on, as JSON values."""
        ...

    @property
    def order_free(self) -> bool:
        """Whether answers cannot depend on the order in which outcomes are listed."""
        ...

    def prefer(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probability of preferring the first outcome of each pair, shape (pairs, 2): when it is listed
        first, and when it is listed second; NaN if there is no answer."""
        ...


class Replies(Protocol):
    """A language model or a mixture of them that scores replies."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    def reply_log_likelihoods(self, decisions: Sequence[Decision]) -> list[OptionLikelihoods]:
        """How likely each option is as the beginning of the reply to its decision's prompt."""
        ...


Asked = Chooser | Rater | Scorer | Policy | Callable[[str, str], float]
"""Anything that `as_chooser` takes."""


class RaterChooser:
    """A rater, with exact log-odds if it reports them.

    ``info["log_odds"]`` of a rating (both orders, of the first outcome) gives probabilities,
    ``info["answers"]`` (both orders) gives decided answers, ``info["rewards"]`` gives the probability
    sigmoid(difference), equal in both orders. Any other rater rates both orders as two comparisons. A rating
    that is no answer in some order (`is_answered`) gives none.

    Args:
        rater: Rater.
    """

    def __init__(self, rater: Rater) -> None:
        self._rater = rater
        self.order_free = isinstance(rater, RewardRater)

    @property
    def name(self) -> str:
        """Name of the rater."""
        return self._rater.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of the rater, and the identity of its model or of its sheet."""
        return {**self._rater.settings, **_identity(self._rater)}

    def prefer(self, pairs: Sequence[Pair]) -> FloatArray:
        """See `Chooser.prefer`."""
        listed = [comparison_of(*pair) for pair in pairs]
        rated = self._rater.rate(listed, PREFERENCE)
        found = np.full((len(pairs), 2), np.nan)
        left: list[int] = []
        for row, rating in enumerate(rated):
            both = None if rating is None else _both_orders(rating)
            if both is None:
                left.append(row)
            else:
                found[row] = both
        if left:
            exchanged = self._rater.rate(
                [Comparison(listed[i].second, listed[i].first) for i in left], PREFERENCE
            )
            for row, other in zip(left, exchanged, strict=True):
                one = rated[row]
                if one is not None:
                    found[row, 0] = _decided(one.preference)
                if other is not None and is_answered(other):
                    found[row, 1] = _decided(EXCHANGED[other.preference])
        return found


class ReplyChooser:
    """A model by the likelihood of the outcome's text as its reply, per token; both outcomes are listed.

    Args:
        replies: Model or mixture.
    """

    order_free = False

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    @property
    def name(self) -> str:
        """Name of the model, with ``likelihood:`` before it."""
        return f"likelihood:{self._replies.name}"

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"reads": "likelihood", "question": QUESTION, **settings_of(self._replies)}

    def prefer(self, pairs: Sequence[Pair]) -> FloatArray:
        """See `Chooser.prefer`."""
        return both_replies(self._replies, [(QUESTION, *pair) for pair in pairs])


class PolicyChooser:
    """A policy over listed options: the outcomes are the options of one decision, in both orders.

    Args:
        policy: Policy, for instance a `SteeredPolicy`.
        prompt: Prompt of the decision.
    """

    order_free = False

    def __init__(self, policy: Policy, prompt: str = QUESTION) -> None:
        self._policy, self._prompt = policy, prompt

    @property
    def name(self) -> str:
        """Name of the policy."""
        return self._policy.name

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {"reads": "options", "prompt": self._prompt}

    def prefer(self, pairs: Sequence[Pair]) -> FloatArray:
        """See `Chooser.prefer`."""
        decisions = [Decision(self._prompt, own) for a, b in pairs for own in ((a, b), (b, a))]
        log_probs = np.array([row[:2] for row in self._policy.log_probs(decisions)]).reshape(-1, 2, 2)
        odds = log_probs[..., 0] - log_probs[..., 1]
        return sigmoid(odds * np.array([1.0, -1.0]))


class FunctionChooser:
    """A function of two texts: the probability of naming the first one listed.

    Args:
        function: Function.
        name: Name in reports.
    """

    order_free = False

    def __init__(self, function: Callable[[str, str], float], name: str = "") -> None:
        self._function, self.name = function, name or getattr(function, "__name__", "function")

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Chooser.settings`."""
        return {}

    def prefer(self, pairs: Sequence[Pair]) -> FloatArray:
        """See `Chooser.prefer`."""
        return np.array([[self._function(a, b), 1.0 - self._function(b, a)] for a, b in pairs]).reshape(-1, 2)


def as_chooser(who: Asked) -> Chooser:
    """A rater, a model, a policy over listed options, or a function of two texts, to be asked.

    A model is asked for a letter, and its exact log-odds are read; `ReplyChooser` reads likelihoods of the
    outcomes' texts instead.

    Raises:
        InputError: It is none of these.
    """
    if hasattr(who, "prefer"):
        return cast("Chooser", who)
    if hasattr(who, "rate"):
        return RaterChooser(cast("Rater", who))
    if hasattr(who, "answer_log_probs"):
        return letter_chooser(cast("Scorer", who))
    if hasattr(who, "log_probs"):
        return PolicyChooser(cast("Policy", who))
    if callable(who):
        return FunctionChooser(who)
    raise InputError(f"expected a rater, a model, a policy or a function, found {who!r:.60}", field="who")


def letter_chooser(scorer: Scorer) -> Chooser:
    """A model that is asked for a letter, by the log-odds of the letters."""
    return RaterChooser(Judge(scorer, prompt=OUTCOMES_PROMPT))


def comparison_of(first: str, second: str) -> Comparison:
    """Two outcomes as a comparison for raters."""
    return Comparison(_segment(first), _segment(second))


def both_replies(replies: Replies, questions: Sequence[tuple[str, str, str]]) -> FloatArray:
    """Probability of each question's first answer against its second one, by the likelihood of the answers as
    replies, per token, shape (questions, 2): with the first answer listed first, and listed second.

    Args:
        replies: Model or mixture.
        questions: Question, first answer, second answer.
    """
    decisions = [
        Decision(listing(question, *own), (a, b)) for question, a, b in questions for own in ((a, b), (b, a))
    ]
    found = replies.reply_log_likelihoods(decisions)
    odds = np.array([own.per_token[0] - own.per_token[1] for own in found]).reshape(-1, 2)
    return sigmoid(odds)


def settings_of(replies: Replies) -> dict[str, Any]:
    """What answers depend on besides a model's name, as JSON values: its precision and its identity."""
    return {"dtype": getattr(replies, "dtype", ""), **_identity(replies)}


def _identity(asked: object) -> dict[str, Any]:
    known = identity_of(asked)
    return {"identity": known} if known else {}


def sigmoid(odds: FloatArray) -> FloatArray:
    """Probabilities of log-odds."""
    return 0.5 * (1.0 + np.tanh(0.5 * odds))


def listing(question: str, first: str, second: str) -> str:
    """A question with its two answers listed, as a prompt."""
    return (
        f"{question}\n\n- {first}\n- {second}\n\nReply with one of the two, word for word, and nothing else."
    )


def _segment(text: str) -> Segment:
    return Segment(f"outcome-{digest([text.encode()])}", 0, (Step(Decision(QUESTION, (text,)), 0),))


def _both_orders(rating: Rating) -> FloatArray | None:
    info = rating.info
    if not is_answered(rating):
        # A refusal is no indifference, on which both orders would agree.
        return np.full(2, np.nan)
    if "log_odds" in info:
        return sigmoid(np.array(info["log_odds"], dtype=np.float64))
    if "answers" in info:
        answers: list[Preference] = info["answers"]
        return np.array([_decided(answer) for answer in answers])
    if "rewards" in info:
        one, other = info["rewards"]
        return np.full(2, float(sigmoid(np.array(one - other))))
    return None


def _decided(preference: Preference) -> float:
    return {"first": 1.0, "tie": 0.5, "second": 0.0}[preference]
