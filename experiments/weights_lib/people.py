"""Weights of the 559 people of value_choices, inferred from their ratings of answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import pluralign as pl
from pluralign.core.arrays import FloatArray

# Ratings of an answer by fewer people of a half give no correlation.
_LEAST = 10


def measure(folder: Path, halvings: int, seed: int = 0) -> dict[str, Any]:
    """Values of answers from one half of the people, weights and held-out choices of the other half.

    The values of an answer are the correlations of its ratings with the four values that the people of the
    first half stated. Of each tested person two thirds of the questions are for inference; from the others,
    pairs of answers with different ratings are predicted.
    """
    stated = {str(row["person"]): row["stated"] for row in _rows(folder / "people.jsonl.gz")}
    asked = [row["answers"] for row in _rows(folder / "questions.jsonl.gz")]
    names = sorted(next(iter(stated.values())))
    found: list[dict[str, Any]] = []
    for halving in range(halvings):
        random = np.random.default_rng([seed, halving])
        people = random.permutation(sorted(stated))
        first, second = set(people[::2].tolist()), people[1::2].tolist()
        values = [[_correlations(answer["ratings"], stated, first, names) for answer in own] for own in asked]
        crowd = [[_mean(answer["ratings"], first) for answer in own] for own in asked]
        found.append(_of_half(asked, values, crowd, second, stated, names, random))
    keys = [key for key in found[0] if key != "correlations"]
    return {
        "halvings": halvings,
        "people": len(stated),
        "correlations": {name: _spread([one["correlations"][name] for one in found]) for name in names},
        **{key: _spread([one[key] for one in found]) for key in keys},
    }


def _of_half(
    asked: list[list[dict[str, Any]]],
    values: list[list[FloatArray | None]],
    crowd: list[list[float]],
    people: list[str],
    stated: Mapping[str, Mapping[str, float]],
    names: list[str],
    random: np.random.Generator,
) -> dict[str, Any]:
    inferred: list[FloatArray] = []
    told: list[FloatArray] = []
    right: dict[str, list[float]] = {"weights": [], "uniform": [], "crowd": []}
    for person in people:
        own = [index for index, answers in enumerate(asked) if person in answers[0]["ratings"]]
        held = set(random.permutation(own)[: len(own) // 3].tolist())
        pairs = {index: _pairs(asked[index], values[index], crowd[index], person, names) for index in own}
        known = [choice for index in own if index not in held for choice, _ in pairs[index]]
        if not known:
            continue
        posterior = pl.infer_weights(known, names, draws=1024)
        inferred.append(posterior.mean.aligned_to(names))
        told.append(np.array([stated[person][name] for name in names]))
        for index in held:
            for choice, lead in pairs[index]:
                apart = _apart(choice.question, posterior)
                right["weights"].append(_hit(float(apart @ inferred[-1])))
                right["uniform"].append(_hit(float(apart.mean())))
                right["crowd"].append(_hit(lead))
    weights, statements = np.array(inferred), np.array(told)
    return {
        "correlations": {
            name: float(np.corrcoef(weights[:, column], statements[:, column])[0, 1])
            for column, name in enumerate(names)
        },
        **{f"right_by_{name}": float(np.mean(hits)) for name, hits in right.items()},
    }


def _pairs(
    answers: list[dict[str, Any]],
    values: list[FloatArray | None],
    crowd: list[float],
    person: str,
    names: list[str],
) -> list[tuple[pl.Choice, float]]:
    """Pairs of answers to one question that a person rated differently; the first one is the better."""
    found: list[tuple[pl.Choice, float]] = []
    for first, second in combinations(range(len(answers)), 2):
        ratings = [answers[place]["ratings"].get(person) for place in (first, second)]
        if None in ratings or ratings[0] == ratings[1]:
            continue
        better, worse = (first, second) if ratings[0] > ratings[1] else (second, first)
        high, low = values[better], values[worse]
        if high is None or low is None:
            continue
        known = tuple(dict(zip(names, own.tolist(), strict=True)) for own in (high, low))
        question = pl.Question(pl.Decision(f"{first}, {second}", ("better", "worse")), known)
        # A question counts once, however many pairs it has.
        weight = 2 / len(answers)
        found.append((pl.Choice(question, 0, weight=weight), crowd[better] - crowd[worse]))
    return found


def _apart(question: pl.Question, posterior: pl.WeightPosterior) -> FloatArray:
    first, second = question.values
    return np.array([(first[name] - second[name]) / posterior.scales[name] for name in posterior.objectives])


def _hit(lead: float) -> float:
    return 0.5 if lead == 0 else float(lead > 0)


def _correlations(
    ratings: Mapping[str, int], stated: Mapping[str, Mapping[str, float]], half: set[str], names: list[str]
) -> FloatArray | None:
    people = [person for person in ratings if person in half]
    numbers = np.array([ratings[person] for person in people], dtype=np.float64)
    if len(people) < _LEAST or numbers.std() == 0:
        return None
    columns = np.array([[stated[person][name] for name in names] for person in people])
    if (columns.std(axis=0) == 0).any():
        return None
    return np.array([np.corrcoef(numbers, column)[0, 1] for column in columns.T])


def _mean(ratings: Mapping[str, int], half: set[str]) -> float:
    numbers = [rating for person, rating in ratings.items() if person in half]
    return float(np.mean(numbers)) if numbers else 0.0


def _spread(numbers: list[float]) -> dict[str, float]:
    return {"mean": float(np.mean(numbers)), "deviation": float(np.std(numbers, ddof=1))}


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as handle:
        return [json.loads(line) for line in handle]
