"""Agreement of two raters beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import Annotation, InputError
from pluralign.core.checks import require_at_least
from pluralign.core.preference import EXCHANGED, PREFERENCES, Preference, Sides

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa with its interval.

    Args:
        kappa: (observed - expected) / (1 - expected); NaN if expected is 1, as when both raters always give
            the same single answer.
        low, high: Ends of the bootstrap interval.
        observed: Share of comparisons with the same answer.
        expected: Share of equal answers expected by chance, given how often each rater gives each answer.
        comparisons: Number of comparisons that both rated.
    """

    kappa: float
    low: float
    high: float
    observed: float
    expected: float
    comparisons: int


@dataclass(frozen=True)
class Agreement:
    """Agreement of two raters.

    Args:
        all: Kappa over first, second and tie.
        without_ties: Kappa over the comparisons that neither rated a tie; None if there are none.
        table: ``table[i][j]`` comparisons that the one gave answer i and the other j, in the order
            first, second, tie.
        left_out: Number of comparisons that one rater rated more than once, with different answers.
    """

    all: Kappa
    without_ties: Kappa | None
    table: tuple[tuple[int, ...], ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``; None for NaN, which JSON does not have."""
        return {
            "all": _plain(self.all),
            "without_ties": self.without_ties and _plain(self.without_ties),
            "table": [list(row) for row in self.table],
            "left_out": self.left_out,
        }


def _plain(kappa: Kappa) -> dict[str, float | None]:
    return {name: None if value != value else value for name, value in asdict(kappa).items()}


def agreement(
    one: Sequence[Annotation],
    other: Sequence[Annotation],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Cohen's kappa over the comparisons that both rated (Cohen 1960).

    Comparisons are matched by their two segments (id and content), whichever is listed first; answers are
    read in the order that ``one`` lists them. The interval is a percentile bootstrap over comparisons.

    Args:
        one: Annotations of one rater, for one objective.
        other: Annotations of the other rater.
        seed: Random seed of the bootstrap.
        resamples: Number of bootstrap resamples.

    Raises:
        InputError: More than one objective or rater in either, different objectives, or no common comparison.
    """
    require_at_least(0, seed=seed)
    _check(one, other)
    mine, contradicted = _by_segments(one)
    theirs, contradicted_too = _by_segments(other)
    table = np.zeros((3, 3), dtype=np.int64)
    for key, (listed, preference) in mine.items():
        if key in theirs:
            their_listed, answer = theirs[key]
            aligned = answer if listed == their_listed else EXCHANGED[answer]
            table[PREFERENCES.index(preference), PREFERENCES.index(aligned)] += 1
    if not table.sum():
        raise InputError("the two raters have no comparison in common")
    rng = np.random.default_rng(seed)
    decided = table[:2, :2]
    return Agreement(
        all=_interval(table, rng, resamples),
        without_ties=_interval(decided, rng, resamples) if decided.sum() else None,
        table=tuple(tuple(int(n) for n in row) for row in table),
        left_out=len(contradicted | contradicted_too),
    )


def cohens_kappa(table: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], ...]:
    """Kappa, observed and expected agreement of confusion tables.

    Args:
        table: Counts, shape (..., answers, answers).

    Returns:
        Three arrays of shape (...); kappa is NaN where the expected agreement is 1.
    """
    shares = table / table.sum(axis=(-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(-1) * shares.sum(-2)).sum(-1)
    open_ = 1 - expected > 1e-12
    kappa = np.where(open_, (observed - expected) / np.where(open_, 1 - expected, 1.0), np.nan)
    return kappa, observed, expected


def _interval(table: npt.NDArray[np.int64], rng: np.random.Generator, resamples: int) -> Kappa:
    total = int(table.sum())
    kappa, observed, expected = (float(x) for x in cohens_kappa(table))
    drawn = rng.multinomial(total, table.ravel() / total, size=resamples).reshape(-1, *table.shape)
    resampled = cohens_kappa(drawn)[0]
    resampled = resampled[~np.isnan(resampled)]
    low = high = float("nan")
    if len(resampled):
        tail = (1 - CONFIDENCE) / 2
        low, high = (float(x) for x in np.quantile(resampled, [tail, 1 - tail]))
    return Kappa(kappa, low, high, observed, expected, total)


def _by_segments(
    annotations: Sequence[Annotation],
) -> tuple[Mapping[Sides, tuple[str, Preference]], set[Sides]]:
    """For each comparison: the segment listed first and the preference; and those contradicted."""
    found: dict[Sides, tuple[str, Preference]] = {}
    contradicted: set[Sides] = set()
    for annotation in annotations:
        key, first = annotation.comparison.sides, annotation.comparison.first.id
        preference = annotation.preference
        if key in found:
            aligned = preference if found[key][0] == first else EXCHANGED[preference]
            if aligned != found[key][1]:
                contradicted.add(key)
        else:
            found[key] = (first, preference)
    return {key: value for key, value in found.items() if key not in contradicted}, contradicted


def _check(one: Sequence[Annotation], other: Sequence[Annotation]) -> None:
    objectives = sorted({a.objective for a in (*one, *other)})
    if len(objectives) > 1:
        raise InputError(f"expected one objective, found {', '.join(objectives)}", field="objective")
    for rated in (one, other):
        raters = sorted({a.rater for a in rated})
        if len(raters) > 1:
            raise InputError(f"expected one rater in each file, found {', '.join(raters)}", field="rater")
