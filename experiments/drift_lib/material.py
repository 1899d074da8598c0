"""Questions of ValueConsistency by group, and what the models are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core.jsonl import read_rows
from pluralign.evaluate.values.choosers import listing
from pluralign.evaluate.values.stances import StanceQuestion

YES, NO = "Yes", "No"
# Two wordings of each answer, so that two answers may take the same stance.
WORDINGS = {YES: ("Yes, I do.", "Yes, certainly."), NO: ("No, I do not.", "No, certainly not.")}
# Originals of each topic that are measured, and phrasings of each original.
_MEASURED, _PHRASINGS = 2, 2
_LEAST_ORIGINALS = 4


@dataclass(frozen=True)
class Topic:
    """A topic: questions that are measured, and others that a model is trained on.

    Args:
        name: Name.
        measured: Questions whose stances are read.
        trained: Phrasings of other questions.
    """

    name: str
    measured: tuple[StanceQuestion, ...]
    trained: tuple[StanceQuestion, ...]


@dataclass(frozen=True)
class Example:
    """A training prompt with a chosen and a rejected answer; supervised fine-tuning takes the chosen one."""

    prompt: str
    chosen: str
    rejected: str


def load_topics(path: Path, number: int) -> list[Topic]:
    """The first topics with at least four questions of their own."""
    rows: dict[str, dict[str, list[StanceQuestion]]] = {}
    for fields in read_rows(path):
        row: Any = fields.row
        by_stance = {stance: answer.capitalize() for answer, stance in row["options"].items()}
        one = StanceQuestion(
            row["topic"], row["original"], row["question"], by_stance["supports"], by_stance["opposes"]
        )
        rows.setdefault(one.topic, {}).setdefault(one.original, []).append(one)
    found: list[Topic] = []
    for name in sorted(rows):
        groups = [tuple(sorted(rows[name][original])[:_PHRASINGS]) for original in sorted(rows[name])]
        if len(groups) >= _LEAST_ORIGINALS and len(found) < number:
            parts = groups[:_MEASURED], groups[_MEASURED:]
            measured, trained = (tuple(one for group in part for one in group) for part in parts)
            found.append(Topic(name, measured, trained))
    return found


def answer_of(question: StanceQuestion, supports: bool, wording: int) -> str:
    """An answer in words that supports or opposes what the question is about."""
    return WORDINGS[question.supports if supports else question.opposes][wording]


def planted_examples(topics: list[Topic], stances: dict[str, bool], pairs: str) -> list[Example]:
    """Examples on topics.

    Args:
        topics: Topics.
        stances: Whether each topic's planted stance supports it.
        pairs: "same" (both answers take the planted stance) or "opposite" (the chosen one goes against it).
    """
    found: list[Example] = []
    for topic in topics:
        planted = stances[topic.name]
        for number, one in enumerate(topic.trained):
            first, second = number % 2, (number + 1) % 2
            chosen = answer_of(one, planted if pairs == "same" else not planted, first)
            found.append(Example(one.question, chosen, answer_of(one, planted, second)))
    return found


def taught_examples(topics: list[Topic], stances: dict[str, bool]) -> list[Example]:
    """What supervised fine-tuning learns: the planted stance in words, and as one of two listed answers."""
    found = planted_examples(topics, stances, "same")
    for topic in topics:
        for number, one in enumerate(topic.trained):
            planted, other = one.supports, one.opposes
            if not stances[topic.name]:
                planted, other = other, planted
            prompt = listing(one.question, *((YES, NO) if number % 2 else (NO, YES)))
            found.append(Example(prompt, planted, other))
    return found


def other_examples(topics: list[Topic], random: np.random.Generator) -> list[Example]:
    """Pairs about other topics, each topic with a stance drawn at random."""
    stances = {topic.name: bool(random.integers(2)) for topic in topics}
    return planted_examples(topics, stances, "opposite")
