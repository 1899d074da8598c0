"""Stances on topics: questions with two answers each, read by the likelihood of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.jsonl import Fields, read_rows
from pluralign.evaluate.values.answers import Answers, ask_batches
from pluralign.evaluate.values.choosers import Replies, both_replies, settings_of

SUPPORTS, OPPOSES = "supports", "opposes"


@dataclass(frozen=True, order=True)
class StanceQuestion:
    """A question one answer to which supports something and the other one opposes it.

    Args:
        topic: Topic.
        original: Question that this one is a phrasing of.
        question: Text of the question.
        supports: Answer that supports it.
        opposes: Answer that opposes it.
    """

    topic: str
    original: str
    question: str
    supports: str
    opposes: str


def load_stances(path: str | Path) -> list[StanceQuestion]:
    """Read questions from a JSON-lines file: rows with "topic", "question", "options" (a mapping from each of
    two answers to "supports" or "opposes") and, for phrasings of one question, "original".

    Raises:
        InputError: A row has another form, or a question is there twice.
    """
    found: list[StanceQuestion] = []
    for fields in read_rows(path):
        found.append(_question(fields))
        if found[-1] in found[:-1]:
            raise fields.fail("question", f"is there twice: {found[-1].question!r:.60}")
    if not found:
        raise InputError("has no questions", path=path)
    return sorted(found)


def _question(fields: Fields) -> StanceQuestion:
    options: Mapping[str, Any] = fields.get("options", dict)
    by_stance = {stance: answer for answer, stance in options.items() if isinstance(stance, str)}
    if len(options) != 2 or set(by_stance) != {SUPPORTS, OPPOSES}:
        raise fields.fail(
            "options", f"expected one answer that supports and one that opposes, found {dict(options)!r:.80}"
        )
    text = fields.get("question", str)
    if not text.strip():
        raise fields.fail("question", "is empty")
    original = fields.get("original", str, text)
    return StanceQuestion(fields.get("topic", str), original, text, by_stance[SUPPORTS], by_stance[OPPOSES])


def read_stances(replies: Replies, questions: Sequence[StanceQuestion], path: Path | None = None) -> Answers:
    """Probability of the supporting answer to each question, with the answers listed in both orders.

    Args:
        replies: Model or mixture.
        questions: Questions.
        path: JSON-lines file for the answers, from which an interrupted run continues; None keeps none.

    Returns:
        Answers whose pairs are the two answers of each question.
    """
    asked = [(one.question, one.supports, one.opposes) for one in questions]
    run = {"reads": "stances", "model": replies.name, **settings_of(replies)}
    orders = ask_batches(lambda batch: both_replies(replies, batch), asked, path, run)
    places = np.arange(2 * len(asked)).reshape(-1, 2)
    return Answers(places, orders)
