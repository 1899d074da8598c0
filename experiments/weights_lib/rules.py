"""Which of MoralChoice's ten rules does a simulated person hold? Found from a few answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from moralchoice_lib.data import RULES, read_cases

import pluralign as pl

NUMBERS = (5, 10)
# The planted rule's weight and the decisiveness: a violation of it alone is avoided with odds of exp(4.8).
WEIGHT, DECISIVENESS, LAPSE = 0.6, 8.0, 0.02
PEOPLE = 4
_DRAWS = 2048


def pool_of_rules(folder: Path) -> list[pl.Question]:
    """Decisions with labels for all rules that differ in one or more; values are minus the violations."""
    found: list[pl.Question] = []
    for case in read_cases(folder, 0):
        if not all(case.known(rule) for rule in RULES):
            continue
        values = tuple({rule: -float(case.flags[rule][place] or 0.0) for rule in RULES} for place in (0, 1))
        if values[0] != values[1]:
            found.append(pl.Question(case.decision, values))
    return found


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows: rule, person, way, number of answers, whether the rule has the largest mean weight, its mean."""
    pool = pool_of_rules(folder)
    for place, rule in enumerate(RULES):
        weights = np.full(len(RULES), (1 - WEIGHT) / (len(RULES) - 1))
        weights[place] = WEIGHT
        for number in range(PEOPLE):
            random = np.random.default_rng([place, number])
            for way in ("chosen", "random"):
                choices: list[pl.Choice] = []
                order = random.permutation(len(pool)).tolist()
                for count in range(max(NUMBERS) + 1):
                    if count in NUMBERS or (way == "chosen" and count < max(NUMBERS)):
                        known = pl.infer_weights(
                            choices, list(RULES), scales=dict.fromkeys(RULES, 1.0), draws=_DRAWS
                        )
                        if count in NUMBERS:
                            mean = known.mean.aligned_to(tuple(RULES))
                            yield {"rule": rule, "person": number, "way": way, "answers": count,
                                   "found": bool(mean.argmax() == place), "mean": float(mean[place]),
                                   "places": int((mean > mean[place]).sum()) + 1}  # fmt: skip
                    if count == max(NUMBERS):
                        break
                    question = pool[order[count]]
                    if way == "chosen":
                        asked = [one.question.decision.key for one in choices]
                        suggestion = pl.next_question(known, pool, asked=asked, seed=number)
                        assert suggestion is not None, "the pool is larger than the interview"
                        question = suggestion.question
                    choices.append(_answered(question, weights, random))


def _answered(question: pl.Question, weights: Any, random: np.random.Generator) -> pl.Choice:
    first, second = (np.array([own[rule] for rule in RULES]) @ weights for own in question.values)
    odds = 1.0 / (1.0 + np.exp(-DECISIVENESS * (first - second)))
    return pl.Choice(question, int(random.random() > (1 - LAPSE) * odds + LAPSE / 2))
