"""Likelihoods of choices: moments, derivatives, EM."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize

from pluralign.elicit.choice_data import choice_data
from pluralign.losses.choice import arithmetic_weights, choice_derivatives, choice_log_likelihood

from .planted import answer, person, questions, units


@pytest.fixture
def data(random):
    _, theta = person(random, 3)
    asked = [*questions(random, 20, 3), *questions(random, 20, 3, options=4)]
    return choice_data([answer(random, one, theta) for one in asked], tuple("abc"), units(3))


@pytest.mark.parametrize("lapse", [0.0, 0.1])
def test_derivatives(data, random, lapse):
    theta = random.uniform(0.5, 2, size=3)

    def value(x):
        return choice_derivatives(data.values, data.offered, data.chosen, data.weights, x, lapse)

    total, gradient, hessian = value(theta)
    rows = choice_log_likelihood(data.values, data.offered, data.chosen, theta[None], lapse)
    assert total == pytest.approx(rows.sum())
    np.testing.assert_allclose(gradient, approx_fprime(theta, lambda x: value(x)[0], 1e-7), atol=1e-4)
    np.testing.assert_allclose(hessian, approx_fprime(theta, lambda x: value(x)[1], 1e-6), atol=1e-3)


@pytest.mark.parametrize("lapse", [0.0, 0.1])
def test_an_answer_may_be_less_likely_than_the_smallest_number(lapse):
    values, offered, chosen = np.array([[[0.0], [800.0]]]), np.ones((1, 2), bool), np.array([0])
    total, gradient, hessian = choice_derivatives(values, offered, chosen, np.ones(1), np.ones(1), lapse)
    # Without lapses the gradient is g(x) - E[g]; with them the answer was one.
    assert total == pytest.approx(np.log(lapse / 2) if lapse else -800)
    assert gradient == pytest.approx([0.0 if lapse else -800.0])
    assert hessian == pytest.approx(np.zeros((1, 1)))


def test_moments_match_at_the_maximum(data):
    found = minimize(
        lambda x: tuple(
            -part for part in choice_derivatives(data.values, data.offered, data.chosen, data.weights, x)[:2]
        ),
        np.ones(3), jac=True, method="BFGS", options={"gtol": 1e-9},
    )  # fmt: skip
    log_probs = choice_log_likelihood(data.values, data.offered, data.chosen, found.x[None])
    assert np.isfinite(log_probs).all()
    utilities = np.where(data.offered, data.values @ found.x, -np.inf)
    probs = np.exp(utilities - np.logaddexp.reduce(utilities, axis=1, keepdims=True))
    expected = np.einsum("co,cop->p", probs, data.values)
    taken = data.values[np.arange(len(data.chosen)), data.chosen].sum(axis=0)
    np.testing.assert_allclose(taken, expected, atol=1e-6)


def test_em_finds_the_weights_of_an_arithmetic_mixture(random):
    policies = random.dirichlet(np.ones(6), size=3)
    weights = np.array([0.5, 0.3, 0.2])
    taken = random.choice(6, size=100_000, p=weights @ policies)
    found, history = arithmetic_weights(policies[:, taken].T)
    np.testing.assert_allclose(found, weights, atol=0.02)
    assert min(np.diff(history)) > -1e-12
