"""Questions to a person whose answers determine weights; each request has all answers so far."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from pluralign.core import InputError
from pluralign.core.choice import SAME, Choice, Question
from pluralign.elicit.grounding import are_log_probs
from pluralign.elicit.interview import Interview, Turn
from pluralign.elicit.prior import SimplexPrior
from pluralign.elicit.questions import expected_regret
from pluralign.serve.errors import Refused
from pluralign.serve.inferred import intervals_of
from pluralign.serve.schema import Schema, check
from pluralign.serve.turns import Turns

MOST_QUESTIONS = 10_000
"""Maximum number of questions of a pool."""
_MOST_ANSWERS = 100
_MOST_SKIPPED = 1000


class Asker:
    """Chooses questions by the answers that a request has; nothing about a person is kept.

    Options with log-probabilities of policies as values keep their unit, as in `pluralign ask --story`; other
    values are divided by their deviation.

    Args:
        pool: Questions with values for the same objectives.
        questions: Largest number of questions to a person.

    Raises:
        InputError: There are no questions or too many, their objectives differ or are fewer than two, or the
            number is below 1 or above the number of answers that a request may have.
    """

    def __init__(self, pool: Sequence[Question], questions: int = 5) -> None:
        if len(pool) > MOST_QUESTIONS:
            raise InputError(f"at most {MOST_QUESTIONS} questions are served, found {len(pool)}", field="ask")
        if questions > _MOST_ANSWERS:
            raise InputError(f"must be at most {_MOST_ANSWERS}, found {questions}", field="ask_questions")
        own = are_log_probs(pool)
        names = pool[0].objectives if pool else ()
        self._interview = Interview(
            pool, questions, scales=dict.fromkeys(names, 1.0) if own else None,
            prior=SimplexPrior(decisiveness=1.0) if own else None,
        )  # fmt: skip
        if len(names) < 2:
            raise InputError(f"weights need at least two objectives, found {', '.join(names)}", field="ask")
        self._known = self._interview.by_key
        self.objectives: tuple[str, ...] = tuple(names)
        self._most = max(len(question.values) for question in pool)
        self._turns = Turns("questions")

    @property
    def schema(self) -> Schema:
        """Schema of the body of `/pluralign/ask`."""
        key = {"type": "string", "description": "Key of a question.", "minLength": 1, "maxLength": 64}
        option = {"type": "integer", "minimum": 0, "maximum": self._most - 1}
        answer = {
            "type": "object",
            "properties": {
                "question": key,
                "answer": {"anyOf": [option, {"type": "string", "enum": [SAME]}]},
            },
            "required": ["question", "answer"],
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {
                "answers": {"type": "array", "items": answer, "maxItems": _MOST_ANSWERS},
                "skipped": {"type": "array", "items": key, "maxItems": _MOST_SKIPPED},
            },
            "required": ["answers"],
            "additionalProperties": False,
        }

    def describe(self) -> dict[str, Any]:
        """Facts for the page: objectives, the largest number of questions, and a digest of the pool."""
        keys = hashlib.sha256("".join(self._known).encode()).hexdigest()
        return {
            "objectives": list(self.objectives),
            "questions": self._interview.questions,
            "pool": keys[:16],
        }

    async def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response of `/pluralign/ask` to a body.

        Raises:
            Refused: The body is invalid, a question is unknown or named twice, or too many requests are
                waiting.
        """
        check(body, self.schema)
        seen: set[str] = set()
        choices: list[Choice] = []
        for place, entry in enumerate(body["answers"]):
            question = self._named(entry["question"], f"answers[{place}].question", seen)
            choices.append(_choice(question, entry["answer"], f"answers[{place}].answer"))
        skipped: list[str] = body.get("skipped", [])
        for place, key in enumerate(skipped):
            self._named(key, f"skipped[{place}]", seen)
        return await self._turns.take(lambda: self._reply(choices, skipped))

    def _named(self, key: str, where: str, seen: set[str]) -> Question:
        question = self._known.get(key)
        if question is None:
            raise Refused(400, f"'{where}' is no question of this server: {key!r}", param=where)
        if key in seen:
            raise Refused(400, f"'{where}' names a question twice: {key!r}", param=where)
        seen.add(key)
        return question

    def _reply(self, choices: Sequence[Choice], skipped: Sequence[str]) -> dict[str, Any]:
        turn = self._interview.turn(choices, skipped)
        following = turn.suggestion
        pool = self._interview.pool
        return {
            "question": _shown(turn),
            "end": turn.end,
            "weights": dict(turn.posterior.mean),
            "intervals": intervals_of(turn.posterior, self.objectives),
            "information": None if following is None else following.information,
            "regret": expected_regret(turn.posterior, pool) if following is None else following.regret,
            "answers": len(choices),
        }


def _choice(question: Question, answer: int | float | str, where: str) -> Choice:
    try:
        return Choice(question, answer if isinstance(answer, str) else int(answer))
    except InputError as error:
        raise Refused(400, f"'{where}' {error.message}", param=where) from error


def _shown(turn: Turn) -> dict[str, Any] | None:
    if turn.suggestion is None:
        return None
    question = turn.suggestion.question
    return {
        "key": question.decision.key,
        "prompt": question.decision.prompt,
        "options": list(question.decision.options),
        "may_tie": question.may_tie,
    }
