"""Win rates between two sets of completions according to a rater.

Source: Inverse-RLignment, section 4.3 and appendix E.4: a judge compares in both orders, and a
side wins only if it wins in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import binomtest  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

import pluralign.annotate
from pluralign.annotate.rater import Rater, Rating
from pluralign.core import Comparison, Decision, InputError, Objective, Segment, Step
from pluralign.core.preference import Preference
from pluralign.evaluate.statistics import CONFIDENCE, Estimate, standard_error

COMPLETIONS_PROMPT = Path(pluralign.annotate.__file__).parent / "prompts" / "judge_completions.txt"
"""The judges' prompt for completions: the content of the paper's prompt in our own words."""


@dataclass(frozen=True)
class WinRate:
    """Result of the first side against the second.

    Args:
        win: Share of prompts on which the first side is better, from 0 to 1; Wilson's 95 % interval.
        tie: Share of ties.
        lose: Share of prompts on which the second side is better.
        difference: ``win - lose``, from -1 to 1, with Bonett and Price's 95 % interval.
        prompts: Number of rated prompts.
        unanswered: Number of comparisons without an answer, which are excluded from the shares.
        contradictions: Share of prompts on which the rater preferred different sides in the two orders; None
            for a rater that does not rate both orders.
        first_place: Share of these contradictions in which it preferred the first position in both orders.
    """

    win: Estimate
    tie: Estimate
    lose: Estimate
    difference: Estimate
    prompts: int
    unanswered: int
    contradictions: Estimate | None
    first_place: int


def completion_comparisons(
    prompts: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> list[Comparison]:
    """Two completions of each prompt as comparisons for any rater.

    Raises:
        InputError: The numbers of completions and prompts differ, or there is no prompt.
    """
    if not prompts or not len(prompts) == len(first) == len(second):
        raise InputError(
            "expected one completion of either side for each prompt, and at least one prompt; "
            f"found {len(first)} and {len(second)} for {len(prompts)}"
        )
    found: list[Comparison] = []
    for number, (prompt, *texts) in enumerate(zip(prompts, first, second, strict=True), start=1):
        decision = Decision(prompt, tuple(texts))
        sides = [Segment(f"{number}-{side}", 0, (Step(decision, i),)) for i, side in enumerate("ab")]
        found.append(Comparison(*sides))
    return found


def win_rate(comparisons: Sequence[Comparison], rater: Rater, objective: Objective) -> WinRate:
    """Have a rater rate every comparison, in batches, and count the results.

    `Judge` and `ReplyJudge` rate both orders; contradictions count as ties.

    Args:
        comparisons: See `completion_comparisons`.
        rater: A judge, a `RewardRater`, or any other rater.
        objective: Objective of the comparisons.

    Raises:
        InputError: See `tally`.
    """
    ratings: list[Rating | None] = []
    for start in range(0, len(comparisons), rater.batch):
        ratings += rater.rate(comparisons[start : start + rater.batch], objective)
    return tally(ratings)


def tally(ratings: Sequence[Rating | None]) -> WinRate:
    """Count ratings.

    Args:
        ratings: Ratings of one prompt each; None for no answer.

    Raises:
        InputError: There are fewer than two answers.
    """
    answered = [rating for rating in ratings if rating is not None]
    if len(answered) < 2:
        raise InputError(f"a win rate needs at least two rated prompts, found {len(answered)}")
    win, tie, lose = (
        _share([rating.preference == named for rating in answered]) for named in ("first", "tie", "second")
    )
    asked_twice = [r.info["answers"] for r in answered if len(r.info.get("answers", ())) == 2]
    against = [{*answers} == {"first", "second"} for answers in asked_twice]
    return WinRate(
        win=win,
        tie=tie,
        lose=lose,
        difference=_difference([rating.preference for rating in answered]),
        prompts=len(answered),
        unanswered=len(ratings) - len(answered),
        contradictions=_share(against) if len(against) > 1 else None,
        first_place=sum(list(answers) == ["first", "second"] for answers in asked_twice),
    )


def _share(hits: Sequence[bool]) -> Estimate:
    count, n = sum(hits), len(hits)
    test: Any = binomtest(count, n)
    low, high = test.proportion_ci(CONFIDENCE, "wilson")
    return Estimate(count / n, standard_error([float(hit) for hit in hits]), float(low), float(high))


def _difference(preferences: Sequence[Preference]) -> Estimate:
    """``win - lose`` with Bonett and Price's (2012) interval, which adds one win and one loss. Unlike a
    bootstrap, it has a positive width even if all prompts agree."""
    signs = [{"first": 1.0, "tie": 0.0, "second": -1.0}[p] for p in preferences]
    n = len(signs) + 2
    wins, losses = ((preferences.count(named) + 1) / n for named in ("first", "second"))
    middle = wins - losses
    half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * ((wins + losses - middle**2) / n) ** 0.5
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Estimate(float(np.mean(signs)), standard_error(signs), low, high)
