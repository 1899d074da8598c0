"""Simulated people with known weights: errors, regrets, intervals, decisions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.elicit.feasibility import explained_by_weights
from pluralign.elicit.utilities import compare_utilities

LAPSE = 0.02
NUMBERS = (5, 10, 20)
ANSWERS = 40
OPTIONS = ("first", "second", "third", "fourth")


@dataclass(frozen=True)
class Person:
    """Weights uniform on the simplex, and a decisiveness that is log-normal around 4 with deviation 0.5."""

    names: tuple[str, ...]
    weights: FloatArray
    theta: FloatArray
    random: np.random.Generator

    def answer(self, question: pl.Question, lapse: float = LAPSE) -> pl.Choice:
        """A choice by the model of `infer_weights`."""
        utilities = values(question, self.names) @ self.theta
        odds = np.exp(utilities - utilities.max())
        probability = (1 - lapse) * odds / odds.sum() + lapse / len(odds)
        return pl.Choice(question, int(self.random.choice(len(odds), p=probability)))


def values(question: pl.Question, names: tuple[str, ...]) -> FloatArray:
    """Values of the options, shape (options, objectives)."""
    return np.array([[own[name] for name in names] for own in question.values])


def person(objectives: int, seed: int) -> Person:
    """A simulated person."""
    random = np.random.default_rng([objectives, seed])
    weights = random.dirichlet(np.ones(objectives))
    names = tuple(f"objective_{index}" for index in range(objectives))
    return Person(names, weights, weights * 4.0 * np.exp(0.5 * random.normal()), random)


def questions(who: Person, number: int, options: int = 2) -> list[pl.Question]:
    """Questions with normal values."""
    return [
        pl.Question(
            pl.Decision(f"question {index}", OPTIONS[:options]),
            tuple(dict(zip(who.names, own.tolist(), strict=True)) for own in who.random.normal(
                size=(options, len(who.names)))),
        )
        for index in range(number)
    ]  # fmt: skip


def measure(objectives: int, seed: int, pool_size: int) -> Iterator[dict[str, Any]]:
    """Rows of one person: number of questions, how they were chosen, and what was inferred."""
    who = person(objectives, seed)
    pool = questions(who, pool_size)
    tests = questions(who, 50, options=4)
    units = dict.fromkeys(who.names, 1.0)
    for way in ("random", "chosen"):
        choices: list[pl.Choice] = []
        for number in range(max(NUMBERS)):
            if way == "random":
                question = pool[number]
            else:
                known = pl.infer_weights(choices, who.names, scales=units, draws=2048)
                asked = [choice.question.decision.key for choice in choices]
                suggestion = pl.next_question(known, pool, asked=asked)
                assert suggestion is not None
                question = suggestion.question
            choices.append(who.answer(question))
            if number + 1 in NUMBERS:
                posterior = pl.infer_weights(choices, who.names, scales=units)
                yield {"objectives": objectives, "way": way, "questions": number + 1,
                       **_figures(who, posterior, tests)}  # fmt: skip


def _figures(who: Person, posterior: pl.WeightPosterior, tests: list[pl.Question]) -> dict[str, float]:
    mean = posterior.mean.aligned_to(who.names)
    inside = [
        low <= weight <= high
        for weight, (low, high) in zip(who.weights, map(posterior.interval, who.names), strict=True)
    ]
    regret, decided, right = 0.0, 0, 0
    for test in tests:
        utilities = values(test, who.names) @ who.weights
        verdict = pl.decide(posterior, test)
        regret += float(utilities.max() - utilities[verdict.chosen])
        decided += verdict.decided
        right += verdict.decided and verdict.chosen == int(utilities.argmax())
    return {
        "error": float(np.abs(mean - who.weights).sum()),
        "covered": float(np.mean(inside)),
        "regret": regret / len(tests),
        "decided": decided / len(tests),
        "right": right / decided if decided else float("nan"),
    }


def misspecified(people: int) -> dict[str, Any]:
    """People whom weighted sums do not describe; questions have three options."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in range(people):
        who = person(3, 10_000 + seed)
        asked = questions(who, ANSWERS, options=3)
        kinds = {
            "as assumed": [who.answer(one) for one in asked],
            "a fifth at random": [who.answer(one, 0.2) for one in asked],
            "worst objective": [_by_worst(who, one) for one in asked],
            "other weights from the middle on": _changed(who, asked),
        }
        for kind, choices in kinds.items():
            posterior = pl.infer_weights(choices, scales=dict.fromkeys(who.names, 1.0))
            told = posterior.explains
            assert told is not None
            inside = [
                low <= weight <= high
                for weight, (low, high) in zip(who.weights, map(posterior.interval, who.names), strict=True)
            ]
            clash, better = explained_by_weights(choices), compare_utilities(choices).better
            found[kind].append({
                "share": told.share, "log_loss": told.log_loss, "covered": float(np.mean(inside)),
                "removed": len(clash.removed) / len(choices),
                "other_named": float(better is not None),
                "worst_named": float(better == "worst objective"),
            })  # fmt: skip
    return {kind: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            for kind, rows in found.items()}  # fmt: skip


def _by_worst(who: Person, question: pl.Question) -> pl.Choice:
    utilities = 3.0 * values(question, who.names).min(axis=1)
    odds = np.exp(utilities - utilities.max())
    return pl.Choice(question, int(who.random.choice(len(odds), p=odds / odds.sum())))


def _changed(who: Person, asked: list[pl.Question]) -> list[pl.Choice]:
    other = Person(who.names, who.weights[::-1], who.theta[::-1], who.random)
    half = len(asked) // 2
    return [who.answer(one) for one in asked[:half]] + [other.answer(one) for one in asked[half:]]
