"""Points that linear weights reach, and lots that beat the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError
from pluralign.core.pareto import pareto_front
from pluralign.core.supported import better_lot, supported_points


def test_a_point_below_the_line_between_the_ends_is_unsupported():
    points = [[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]]
    assert supported_points(points).tolist() == [True, False, True]
    lot = better_lot(points, 1)
    assert lot.shares == pytest.approx({0: 0.5, 2: 0.5})
    assert lot.margin == pytest.approx(0.1)


def test_a_point_on_the_line_is_reached_with_a_tie():
    assert supported_points([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]]).all()


def test_units_do_not_matter():
    points = np.array([[0.0, 1.0], [0.4, 0.4], [1.0, 0.0]]) * [1000.0, 0.001] + [5.0, -7.0]
    assert supported_points(points).tolist() == [True, False, True]


def test_one_point_and_equal_points():
    assert supported_points([[3.0, 4.0]]).all()
    assert supported_points([[3.0, 4.0], [3.0, 4.0]]).all()


def test_three_objectives():
    corners = np.eye(3).tolist()
    assert supported_points([*corners, [0.3, 0.3, 0.3]]).tolist() == [True, True, True, False]
    assert supported_points([*corners, [0.4, 0.4, 0.4]]).all()


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=12))
def test_weights_reach_exactly_what_no_lot_beats(rows):
    points = pareto_front(np.array(rows, dtype=float))
    mask = supported_points(points)
    shares = np.linspace(0, 1, 4001)
    utilities = np.column_stack([shares, 1 - shares]) @ points.T
    best = (utilities >= utilities.max(axis=1, keepdims=True) - 1e-12).any(axis=0)
    # A point that is optimal on the grid of weights is supported.
    assert mask[best].all()
    for row in range(len(points)):
        assert mask[row] == (better_lot(points, row).margin < 1e-8)


def test_points_must_be_finite():
    with pytest.raises(InputError, match="finite points"):
        supported_points([[0.0, float("nan")]])
