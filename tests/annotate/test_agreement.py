import json
import math

import numpy as np
import pytest

from pluralign.annotate.agreement import agreement, cohens_kappa
from pluralign.core import Annotation, Comparison, Decision, InputError, Segment, Step

FLIP = {"first": "second", "second": "first", "tie": "tie"}


def annotation(i, preference, rater, exchanged=False, objective="score"):
    decision = Decision("p", ("a", "b"))
    a, b = (Segment(f"{side}{i}", 0, (Step(decision, k),)) for k, side in enumerate("ab"))
    if exchanged:
        a, b, preference = b, a, FLIP[preference]
    return Annotation(Comparison(a, b), objective, rater, preference)


def raters(table, exchanged=False):
    """Two raters' annotations with this confusion table."""
    names = ("first", "second", "tie")
    cells = [(names[i], names[j]) for i in range(3) for j in range(3) for _ in range(table[i][j])]
    one = [annotation(n, x, "one") for n, (x, _) in enumerate(cells)]
    other = [annotation(n, y, "other", exchanged) for n, (_, y) in enumerate(cells)]
    return one, other


def test_equal_ids_in_files_of_two_stories_are_no_common_comparison():
    elsewhere = Decision("another story", ("a", "b"))
    a, b = (Segment(f"{side}0", 0, (Step(elsewhere, k),)) for k, side in enumerate("ab"))
    with pytest.raises(InputError, match="no comparison in common"):
        agreement([annotation(0, "first", "one")], [Annotation(Comparison(a, b), "score", "two", "first")])


TABLE = ((20, 5, 5), (10, 15, 5), (0, 10, 30))


@pytest.mark.parametrize("exchanged", [False, True])
def test_by_hand(exchanged):
    """n = 100. Observed: (20 + 15 + 30) / 100 = 0.65. Rows 30, 30, 40; columns 30, 30, 40; expected:
    0.09 + 0.09 + 0.16 = 0.34. Kappa = 0.31 / 0.66 = 0.469696...
    Without ties: 20, 5 / 10, 15: observed 35/50 = 0.7; rows 25, 25; columns 30, 20; expected
    0.5 * 0.6 + 0.5 * 0.4 = 0.5; kappa 0.4."""
    found = agreement(*raters(TABLE, exchanged))
    assert found.table == TABLE
    assert found.all.observed == pytest.approx(0.65)
    assert found.all.expected == pytest.approx(0.34)
    assert found.all.kappa == pytest.approx(0.31 / 0.66)
    assert found.all.comparisons == 100
    assert found.without_ties.kappa == pytest.approx(0.4)
    assert found.without_ties.comparisons == 50
    assert found.all.low < found.all.kappa < found.all.high
    json.dumps(found.as_json())


def test_two_answers_by_hand():
    """45, 15 / 25, 15: observed 60/100; expected 0.6 * 0.7 + 0.4 * 0.3 = 0.54; kappa 0.06 / 0.46."""
    kappa, observed, expected = cohens_kappa(np.array([[45, 15], [25, 15]]))
    assert observed == pytest.approx(0.6)
    assert expected == pytest.approx(0.54)
    assert kappa == pytest.approx(0.1304, abs=1e-4)


def test_perfect_opposite_and_undefined():
    assert agreement(*raters(((5, 0, 0), (0, 5, 0), (0, 0, 2)))).all.kappa == pytest.approx(1.0)
    opposite = agreement(*raters(((0, 5, 0), (5, 0, 0), (0, 0, 0))))
    assert opposite.all.kappa == pytest.approx(-1.0)
    one_answer = agreement(*raters(((7, 0, 0), (0, 0, 0), (0, 0, 0))))
    assert math.isnan(one_answer.all.kappa)
    assert one_answer.as_json()["all"]["kappa"] is None
    json.dumps(one_answer.as_json(), allow_nan=False)
    assert one_answer.all.observed == 1.0
    ties = agreement(*raters(((0, 0, 0), (0, 0, 0), (1, 0, 4))), seed=1)
    assert ties.without_ties is None


def test_only_common_comparisons_count():
    one, other = raters(TABLE)
    found = agreement(one[:60], other[40:])
    assert found.all.comparisons == 20
    with pytest.raises(InputError, match="no comparison in common"):
        agreement(one[:50], other[50:])


def test_a_rater_who_contradicts_himself_is_left_out():
    one, other = raters(TABLE)
    found = agreement([*one, annotation(0, "tie", "one"), annotation(1, "first", "one")], other)
    assert found.left_out == 1
    assert found.all.comparisons == 99


def test_interval_covers_as_often_as_it_says():
    """Draw 200 samples of a known table; the 95 % interval is to hold its kappa about as often."""
    rng = np.random.default_rng(0)
    shares = np.array(TABLE) / 100
    covered = 0
    for n in range(200):
        sample = rng.multinomial(100, shares.ravel()).reshape(3, 3)
        found = agreement(*raters(sample), seed=n, resamples=300).all
        covered += found.low <= 0.31 / 0.66 <= found.high
    assert 178 <= covered <= 199


@pytest.mark.parametrize("count", [5, 20])
def test_intervals_of_few_comparisons_that_mostly_agree_hold_kappa(count):
    """Raters who agree in 95 % of the cases often agree in all of 20: a resample then has no other answer."""
    rng = np.random.default_rng(0)
    shares = np.full((3, 3), 0.05 / 6)
    np.fill_diagonal(shares, 0.95 / 3)
    covered = 0
    for n in range(200):
        sample = rng.multinomial(count, shares.ravel()).reshape(3, 3)
        found = agreement(*raters(sample), seed=n, resamples=300).all
        covered += not found.low > 0.925 and not found.high < 0.925
    assert 174 <= covered <= 200
    same = agreement(*raters(((5, 0, 0), (0, 5, 0), (0, 0, 0)))).all
    assert same.low < 0.9 < same.kappa == same.high == 1.0


def test_seeded():
    one, other = raters(TABLE)
    assert agreement(one, other, seed=3) == agreement(one, other, seed=3)


def test_one_objective_and_one_rater_each():
    one, other = raters(TABLE)
    with pytest.raises(InputError, match="one objective"):
        agreement(one, [annotation(0, "tie", "other", objective="harm")])
    with pytest.raises(InputError, match="one rater"):
        agreement([*one, annotation(0, "tie", "third")], other)
