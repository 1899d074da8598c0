"""Weights of gradients that share parameters: the shortest vector of a hull, and a target to follow."""

import numpy as np
import pytest

from pluralign.core import InputError
from pluralign.losses.pareto import guided_weights, min_norm_weights


def _gradients(losses, parameters, seed=0):
    return np.random.default_rng(seed).normal(size=(losses, parameters))


@pytest.mark.parametrize("losses", [2, 3, 5])
def test_orthogonal_gradients_weigh_by_their_inverse_squared_length(losses):
    lengths = np.arange(1.0, losses + 1)
    rotation, _ = np.linalg.qr(_gradients(7, 7))
    found = min_norm_weights(lengths[:, None] * rotation[:losses])
    assert found == pytest.approx(lengths**-2 / (lengths**-2).sum(), abs=1e-12)


@pytest.mark.parametrize("losses", [2, 3])
def test_identical_gradients_keep_their_direction(losses):
    row = _gradients(1, 4)
    found = min_norm_weights(np.repeat(row, losses, axis=0))
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert found @ np.repeat(row, losses, axis=0) == pytest.approx(row[0])


def test_opposite_gradients_leave_no_direction():
    rows = np.array([[1.0, 2.0, -1.0], [-2.0, -4.0, 2.0]])
    assert min_norm_weights(rows) @ rows == pytest.approx(np.zeros(3), abs=1e-12)
    more = np.vstack([rows, [[0.3, 0.1, 0.0]]])
    assert min_norm_weights(more) @ more == pytest.approx(np.zeros(3), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("losses", "parameters"), [(2, 3), (3, 2), (4, 50), (6, 4), (9, 1000)])
def test_no_gradient_opposes_the_shortest_vector(seed, losses, parameters):
    rows = _gradients(losses, parameters, seed) * np.logspace(-3, 3, losses)[:, None]
    found = min_norm_weights(rows)
    direction = found @ rows
    length = direction @ direction
    scale = np.linalg.norm(rows, axis=1).max() ** 2
    assert (rows @ direction >= length - 1e-10 * scale).all()
    assert (rows @ direction)[found > 1e-9] == pytest.approx(length, abs=1e-10 * scale)
    # No other point of the hull is shorter.
    others = np.random.default_rng(seed).dirichlet(np.ones(losses), size=500) @ rows
    assert length <= (others**2).sum(axis=1).min() + 1e-10 * scale


def test_a_small_step_raises_no_loss():
    centres = _gradients(4, 6, 3)
    point = np.zeros(6)
    before = ((point - centres) ** 2).sum(axis=1)
    rows = 2 * (point - centres)
    after = ((point - 1e-3 * min_norm_weights(rows) @ rows - centres) ** 2).sum(axis=1)
    assert (after < before).all()


def test_the_target_is_followed_as_far_as_the_losses_allow():
    rows = np.array([[1.0, 0.0], [0.0, 1.0]])
    # Both agree: the one that agrees more has all the weight.
    assert guided_weights(rows, np.array([2.0, 1.0])).tolist() == [1, 0]
    for seed in range(20):
        own, target = _gradients(3, 5, seed), _gradients(1, 5, 100 + seed)[0]
        gram, along = own @ own.T, own @ target
        found = guided_weights(own, target)
        assert found.sum() == pytest.approx(1)
        fall = gram @ found
        agrees = int(along.argmax())
        if along[agrees] > 0:
            assert fall[agrees] >= -1e-7
            assert (fall >= along - 1e-7)[along <= 0].all()
            # It follows the target at least as well as the shortest vector does.
            assert found @ along >= min_norm_weights(own) @ along - 1e-7
        else:
            assert (fall >= -1e-7).all()


def test_without_a_way_to_follow_all_losses_fall():
    own, target = _gradients(3, 5, 1), _gradients(1, 5, 2)[0]
    found = guided_weights(own, target, improves=False)
    assert (own @ own.T @ found >= -1e-7).all()
    shortest = min_norm_weights(own)
    assert (own @ own.T @ found).sum() >= (own @ own.T @ shortest).sum() - 1e-7
    stuck = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert guided_weights(stuck, np.array([1.0, 0.0]), improves=False) == pytest.approx([0.5, 0.5])


def test_without_a_solution_the_weights_are_those_of_the_shortest_vector():
    # All losses fall only together, and then the target rises more than the best one alone has it rise.
    own = np.array([[1.0, 0.0], [-0.9, 0.1]])
    target = np.array([-1.0, -0.5])
    along = own @ target
    weights = np.linspace(0, 1, 1001)
    mixed = np.stack([weights, 1 - weights], axis=1)
    falls = (mixed @ own @ own.T >= 0).all(axis=1)
    assert falls.any()
    assert not (falls & (mixed @ along >= min(along.max(), 0.0))).any()
    assert guided_weights(own, target, improves=False).tolist() == min_norm_weights(own).tolist()


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (np.zeros((0, 3)), r"expected an array"),
        (np.ones(3), r"expected an array"),
        ([[np.nan]], "not finite"),
    ],
)
def test_what_is_no_gradient_is_refused(gradients, message):
    with pytest.raises(InputError, match=message):
        min_norm_weights(gradients)
    with pytest.raises(InputError, match=message):
        guided_weights(gradients, np.ones(3))


def test_a_target_of_another_size_is_refused():
    with pytest.raises(InputError, match="expected 2 finite numbers") as refused:
        guided_weights(np.ones((2, 2)), np.ones(3))
    assert refused.value.field == "target"
    assert min_norm_weights(np.zeros((2, 3))).tolist() == [0.5, 0.5]
    assert min_norm_weights(np.ones((1, 3))).tolist() == [1]
