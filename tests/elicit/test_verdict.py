"""Decisions that weights leave open, and choices that no weights explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pluralign as pl
from pluralign.elicit.feasibility import explained_by_weights
from pluralign.elicit.verdict import dominance
from pluralign.losses.choice import choice_log_probs

from .planted import answer, question, questions, units

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))


@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=5),
    st.lists(st.tuples(*[st.floats(0.01, 1)] * 3), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_dominance_is_a_strict_partial_order(values, weights):
    better = dominance(np.array(weights), np.array(values))
    assert not better.diagonal().any()
    assert not (better & better.T).any()
    assert not ((better.astype(int) @ better.astype(int) > 0) & ~better).any()


def test_pairwise_majorities_cycle_and_dominance_does_not():
    values = np.array([(3, 1, 2), (2, 3, 1), (1, 2, 3)], float)
    assert not dominance(np.eye(3), values).any()
    # Two weightings suffice to make two options incomparable.
    assert not dominance(np.eye(2), np.array([(1.0, 0.0), (0.0, 1.0)])).any()
    assert dominance(np.eye(2), np.array([(1.0, 1.0), (0.0, 0.5)]))[0, 1]


def test_decisions_are_open_until_answers_decide_them(random):
    hard = question((1.0, 0.0), (0.0, 1.0))
    prior = pl.infer_weights([], ["a", "b"])
    verdict = pl.decide(prior, hard)
    assert not verdict.decided
    assert verdict.undominated == (0, 1)
    assert sum(verdict.probabilities) == pytest.approx(1)
    asked = questions(random, 40, 2)
    known = pl.infer_weights([answer(random, one, np.array([9.0, 1.0])) for one in asked], scales=units(2))
    verdict = pl.decide(known, hard)
    assert verdict.decided
    assert verdict.chosen == 0
    assert verdict.undominated == (0,)
    assert verdict.probabilities[0] > 0.95
    assert pl.decide(prior, question((1, 1), (0, 0), (0.5, 2))).undominated == (0, 2)
    with pytest.raises(pl.InputError, match="alpha"):
        pl.decide(prior, hard, alpha=0)
    with pytest.raises(pl.InputError, match="no value for b"):
        pl.decide(prior, question((1,), (0,)))


def test_the_unsupported_middle():
    middle = question((0, 1), (0.4, 0.4), (1, 0))
    found = explained_by_weights([pl.Choice(middle, 1)], scales=units(2))
    assert found.margin == pytest.approx(-0.1, abs=1e-9)
    assert found.weights.aligned_to(["a", "b"]) == pytest.approx([0.5, 0.5])
    assert not found.feasible
    assert found.contradicting == (0,)
    assert found.least_violation == 1.0
    assert explained_by_weights([pl.Choice(question((0, 1), (1, 0)), 1)]).feasible
    # The first place, then the others: only the ranking's own order counts.
    assert explained_by_weights([pl.Choice(middle, (0, 1, 2))]).feasible


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_what_is_left_is_explained_whatever_the_unit_and_the_ties(random, size):
    for _ in range(12):
        values = random.choice([0.0, 0.5, 1.0], size=(5, 2, 2)) * size
        choices = [pl.Choice(question(*own, number=n), 0) for n, own in enumerate(values)]
        found = explained_by_weights(choices, scales=units(2))
        left = [one for place, one in enumerate(choices) if place not in found.removed]
        assert not left or explained_by_weights(left, scales=units(2)).feasible
        if not found.feasible:
            against = [choices[place] for place in found.contradicting]
            assert not explained_by_weights(against, scales=units(2)).feasible


def test_contradictions_are_shown_and_the_rest_is_explained(random):
    cycle = [((3, 1, 2), (2, 3, 1)), ((2, 3, 1), (1, 2, 3)), ((1, 2, 3), (3, 1, 2))]
    choices = [pl.Choice(question(first, second), 0) for first, second in cycle]
    easy = [pl.Choice(question((1, 1, 1), (0, 0, 0), number=n), 0) for n in range(5)]
    found = explained_by_weights([*easy, *choices])
    assert found.contradicting == (5, 6, 7)
    assert found.exact
    assert found.least_violation == pytest.approx(1 / 3)
    assert len(found.removed) == 1
    assert found.removed[0] >= 5
    left = [c for n, c in enumerate([*easy, *choices]) if n not in found.removed]
    assert explained_by_weights(left).feasible
    # An option that is worse by every objective was taken: one answer contradicts all weights.
    wrong = pl.Choice(question((0, 0, 0), (1, 1, 1)), 0)
    assert explained_by_weights([*easy, wrong]).contradicting == (5,)
    # "About the same" demands nothing.
    assert explained_by_weights([pl.Choice(question((1, 0), (0, 1), may_tie=True), "same")]).feasible


def test_of_a_cycle_one_answer_is_uncertain(random):
    """System 10's bound: the least of the three probabilities of strict preference is at most 2/3."""
    values = np.array([(3, 1, 2), (2, 3, 1), (1, 2, 3)], float)
    for _ in range(20):
        theta = random.dirichlet(np.ones(3), size=50) * 1e4
        pairs = np.array([[values[i], values[(i + 1) % 3]] for i in range(3)])
        log_probs = choice_log_probs(pairs, np.ones((3, 2), bool), theta)
        assert np.exp(log_probs[:, :, 0]).mean(axis=0).min() <= 2 / 3 + 1e-9
