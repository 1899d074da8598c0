"""Utilities from answers about pairs, and the pairs that are asked about."""

from statistics import NormalDist

import numpy as np
import pytest

from pluralign.evaluate.values.answers import Answers, draw_pairs
from pluralign.evaluate.values.utilities import place, thurstone

PHI = NormalDist().cdf


def test_intervals_of_utilities_hold_the_planted_ones():
    random, pairs = np.random.default_rng(0), draw_pairs(10, 0, 1, seed=0)[0]
    held = []
    for _ in range(40):
        truth = random.normal(size=10)
        odds = [PHI(truth[i] - truth[j]) for i, j in pairs.tolist()]
        decided = (random.random(len(pairs)) < odds).astype(float)
        fitted = thurstone(10, Answers(pairs, np.column_stack([decided, decided])))
        held.append(np.abs(fitted.mean - truth + truth.mean()) <= 1.96 * fitted.stderr)
    assert 0.9 < np.mean(held) < 0.99


def test_placed_items():
    anchors = np.array([-1.0, 0.0, 1.0])
    given = np.array([PHI(0.4 - one) for one in anchors])
    means, errors = place([given], [anchors], pseudo_count=0.0)
    assert means[0] == pytest.approx(0.4, abs=1e-9)
    assert errors[0] < 1e-6


def test_drawn_pairs_connect_everything_and_hold_the_triples():
    for seed in range(5):
        pairs, triads = draw_pairs(25, 30, 10, seed)
        known = {tuple(pair) for pair in pairs.tolist()}
        assert len(known) == len(pairs)
        assert all(a < b for a, b in known)
        for a, b, c in triads.tolist():
            assert {(a, b), (b, c), (a, c)} <= known
        reached, todo = {0}, [0]
        while todo:
            here = todo.pop()
            near = {a + b - here for a, b in known if here in (a, b)} - reached
            reached |= near
            todo += near
        assert len(reached) == 25
