"""Surrogates of sweeps: what is quadratic is found exactly, and what cannot be fitted is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.steer.design import design, least_points
from pluralign.steer.surrogate import fit_surrogate

NAMES = ["kind", "brief", "plain"]


def quadratic(rng, objectives, outcomes):
    """A random quadratic with constant, linear and square terms of weights, shape (weightings, outcomes)."""
    constant, linear = rng.normal(size=outcomes), rng.normal(size=(objectives, outcomes))
    square = rng.normal(size=(outcomes, objectives, objectives))
    return lambda w: constant + w @ linear + np.einsum("ni,kij,nj->nk", w, square, w)


def arrays(weightings, names=NAMES):
    return np.array([weights.aligned_to(names) for weights in weightings])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), objectives=st.integers(2, 5))
def test_a_quadratic_map_is_found_from_as_few_points_as_it_has_coefficients(seed, objectives):
    names = [f"o{k}" for k in range(objectives)]
    rng = np.random.default_rng(seed)
    true = quadratic(rng, objectives, objectives)
    points = rng.dirichlet(np.ones(objectives), least_points(objectives))
    weightings = [SteeringWeights(dict(zip(names, row, strict=True))) for row in points.tolist()]
    found = fit_surrogate(weightings, true(arrays(weightings, names)), objectives=names)
    others = rng.dirichlet(np.ones(objectives), 20)
    worst = np.linalg.cond(
        np.stack([points[:, i] * points[:, j] for i in range(objectives) for j in range(i + 1)])
    )
    assert np.abs(found.predict(others) - true(others)).max() < 1e-12 * worst * 100


def test_the_design_determines_a_quadratic_to_nine_digits():
    true = quadratic(np.random.default_rng(0), 3, 3)
    weightings = design(NAMES, 6)
    found = fit_surrogate(weightings, true(arrays(weightings)))
    grid = arrays(simplex_grid(NAMES, 10))
    np.testing.assert_allclose(found.predict(grid), true(grid), atol=1e-9)
    assert found.r2() is None
    assert np.allclose(found.predict(np.eye(3)), true(np.eye(3)))


@pytest.mark.parametrize("budget", [6, 9, 15])
def test_a_larger_budget_extends_the_design(budget):
    chosen = design(NAMES, budget)
    assert [w.to_text() for w in chosen[:3]] == ["kind=1", "brief=1", "plain=1"]
    assert chosen[3] == SteeringWeights.uniform(NAMES)
    assert len(set(chosen)) == budget
    assert chosen == design(NAMES, 20)[:budget]


@pytest.mark.parametrize(("names", "most"), [(NAMES[:2], 101), (NAMES, 5152)])
def test_a_budget_beyond_all_weightings_is_refused(names, most):
    with pytest.raises(InputError, match=f"'budget': must be at most {most} with {len(names)} objectives"):
        design(names, most + 1)


def test_the_largest_budget_has_every_weighting_once():
    assert len({weights.to_text() for weights in design(NAMES[:2], 101)}) == 101


def test_all_copies_of_a_weighting_are_left_out():
    # An outcome without any pattern: only its own copies know what it is.
    once = simplex_grid(NAMES, 3)
    noise = np.random.default_rng(0).normal(size=(len(once), 3))
    shares = fit_surrogate(once * 3, np.tile(noise, (3, 1))).r2()
    assert all(share < 0.3 for share in shares.values())
    few = simplex_grid(NAMES, 2)
    assert fit_surrogate(few * 2, np.tile(noise[: len(few)], (2, 1))).r2() is None


def test_what_is_left_out_is_predicted_or_not():
    grid = simplex_grid(NAMES, 4)
    w = arrays(grid)
    noise = np.random.default_rng(1).normal(size=len(grid))
    shares = fit_surrogate(grid, np.stack([w[:, 0] * w[:, 1], noise, np.ones(len(w))], axis=1)).r2()
    assert shares["kind"] > 0.999
    assert shares["brief"] < 0.3
    assert np.isnan(shares["plain"])


def test_an_outcome_that_varies_by_rounding_is_constant():
    grid = simplex_grid(["a", "b"], 4)
    found = [[w["a"] ** 0.5, 0.55 + 1e-16 * (number % 2)] for number, w in enumerate(grid)]
    dial = fit_surrogate(grid, found)
    assert dial.units.tolist() == [1.0, 1.0]
    assert np.isnan(dial.r2()["b"])
    assert dial.weights_for(SteeringWeights(a=0.5, b=0.5))["a"] == pytest.approx(1.0)


def test_wishes_become_weights():
    # Outcomes saturate: half of the weight already has three quarters of the effect.
    grid = simplex_grid(["a", "b"], 4)
    first = np.array([weights["a"] for weights in grid])
    found = fit_surrogate(grid, np.stack([2 * first - first**2, 1 - first**2], axis=1) * [100.0, 1.0])
    # Utility v (2w - w^2) + (1 - v) (1 - w^2), in units of the ranges: the best w is v.
    assert found.weights_for(SteeringWeights(a=0.3, b=0.7))["a"] == pytest.approx(0.3, abs=1e-3)
    assert dict(found.weights_for(SteeringWeights(a=1.0))) == {"a": 1.0, "b": 0.0}
    three = simplex_grid(NAMES, 3)
    best_in_the_middle = -((arrays(three) - 1 / 3) ** 2).sum(axis=1)
    found = fit_surrogate(three, np.stack([best_in_the_middle] * 3, axis=1))
    assert found.weights_for(SteeringWeights(kind=0.5, brief=0.5)).aligned_to(NAMES)[2] == 0
    everything = found.weights_for(SteeringWeights(kind=0.2, brief=0.2, plain=0.6))
    np.testing.assert_allclose(everything.aligned_to(NAMES), 1 / 3, atol=1e-3)


@pytest.mark.parametrize("count", [6, 8])
def test_many_objectives_have_a_grid_that_is_small_enough(count):
    names = [f"o{k}" for k in range(count)]
    weightings = design(names, least_points(count))
    found = fit_surrogate(weightings, 1 - (1 - arrays(weightings, names)) ** 2)
    wish = SteeringWeights.uniform(names)
    np.testing.assert_allclose(found.weights_for(wish).aligned_to(names), 1 / count, atol=0.01)


def test_the_predicted_front_leaves_out_what_is_dominated():
    grid = simplex_grid(["a", "b"], 4)
    first = np.array([weights["a"] for weights in grid])
    # The second objective's own policy is bad for both.
    found = fit_surrogate(grid, np.stack([first, 1 - (first - 0.5) ** 2], axis=1))
    assert [weights["a"] for weights in found.front(4)] == [0.5, 0.75, 1.0]


def test_links_keep_predictions_in_range():
    grid = simplex_grid(["a", "b"], 6)
    steep = 4 * (2 * np.array([weights["a"] for weights in grid]) - 1)
    shares = 1 / (1 + np.exp(-np.stack([steep, -steep], axis=1)))
    fitted = fit_surrogate(grid, shares, link="logistic")
    np.testing.assert_allclose(fitted.predict(arrays(grid, ["a", "b"])), shares, atol=1e-9)
    sizes = np.logaddexp(0, np.stack([steep, -steep], axis=1))
    np.testing.assert_allclose(
        fit_surrogate(grid, sizes, link="softplus").predict(arrays(grid, ["a", "b"])), sizes, atol=1e-9
    )
    with pytest.raises(InputError, match="0 to 1"):
        fit_surrogate(grid, shares * 2, link="logistic")
    with pytest.raises(InputError, match="negative"):
        fit_surrogate(grid, -sizes, link="softplus")


def test_what_cannot_be_fitted_is_refused():
    grid = simplex_grid(NAMES, 2)
    good = arrays(grid)
    with pytest.raises(InputError, match="6 or more weightings"):
        fit_surrogate(grid[:5], good[:5])
    with pytest.raises(InputError, match="of rank 3"):
        fit_surrogate(grid[:3] * 2, np.concatenate([good[:3]] * 2))
    with pytest.raises(InputError, match="shape"):
        fit_surrogate(grid, good[:, :2])
    with pytest.raises(InputError, match="finite"):
        fit_surrogate(grid, good + np.inf)
    with pytest.raises(InputError, match="'outcomes': expected numbers"):
        fit_surrogate(grid, [[1.0, 2.0], [1.0]])
    with pytest.raises(InputError, match="at least 6"):
        design(NAMES, 5)
    with pytest.raises(InputError, match="unknown objective"):
        fit_surrogate(grid, good).weights_for(SteeringWeights(wild=1.0))
