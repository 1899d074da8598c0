"""Fronts and hypervolumes, against brute force and published fronts."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pluralign.core import InputError, SteeringWeights, simplex_grid
from pluralign.core.pareto import (
    expected_utility,
    hypervolume,
    hypervolume_ratio,
    mixed_hypervolume,
    non_dominated,
    pareto_front,
    reference_point,
    rescale,
)

whole_points = st.integers(1, 3).flatmap(
    lambda d: hnp.arrays(
        np.float64, st.tuples(st.integers(1, 8), st.just(d)), elements=st.integers(-3, 4).map(float)
    )
)


def dominated(point: np.ndarray, others: np.ndarray) -> bool:
    return any((other >= point).all() and (other > point).any() for other in others)


def unit_cells(points: np.ndarray, corner: np.ndarray) -> int:
    """The volume by counting: every unit cell that some point reaches beyond."""
    ranges = [range(int(c), 5) for c in corner]
    return sum(any((p >= np.array(cell) + 1).all() for p in points) for cell in itertools.product(*ranges))


@given(whole_points)
def test_front_is_what_nothing_dominates(points: np.ndarray) -> None:
    front = pareto_front(points)
    expected = sorted({tuple(p) for p in points if not dominated(p, points)})
    assert [tuple(p) for p in front] == expected
    assert non_dominated(points).sum() == len(expected)


@given(whole_points)
def test_hypervolume_is_the_number_of_unit_cells(points: np.ndarray) -> None:
    corner = np.full(points.shape[1], -2.0)
    assert hypervolume(points, corner) == pytest.approx(unit_cells(points, corner))


@given(whole_points)
def test_the_front_has_all_the_volume(points: np.ndarray) -> None:
    corner = np.full(points.shape[1], -4.0)
    assert hypervolume(pareto_front(points), corner) == pytest.approx(hypervolume(points, corner))
    assert hypervolume_ratio(points, points, corner) == pytest.approx(1.0)


def test_hypervolume_by_hand() -> None:
    # Stairs (1, 3), (2, 2), (3, 1) above (0, 0): columns of height 3, 2 and 1.
    stairs = [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]]
    assert hypervolume(stairs, [0.0, 0.0]) == pytest.approx(6.0)
    assert hypervolume([[2.0, 2.0]], [0.0, 0.0]) == pytest.approx(4.0)
    assert hypervolume_ratio([[2.0, 2.0]], stairs, [0.0, 0.0]) == pytest.approx(4 / 6)
    # At the worst attainable return of some objective a point adds nothing.
    assert hypervolume([[5.0, 0.0], [2.0, 2.0]], reference_point([0.0, 0.0])) == pytest.approx(4.0)
    assert hypervolume([[-1.0, 9.0]], [0.0, 0.0]) == 0.0


def test_mixed_hypervolume_by_hand() -> None:
    # Under the line from (1, 3) to (3, 1) and its shadows (0, 3), (3, 0): a square of 9 less a triangle of 2.
    ends = [[1.0, 3.0], [3.0, 1.0]]
    assert mixed_hypervolume(ends, [0.0, 0.0]) == pytest.approx(7.0)
    # A coin's toss between the ends lies above the stairs, and on the hull.
    middle = [*ends, [2.0, 2.0]]
    assert hypervolume_ratio(middle, ends, [0.0, 0.0]) == pytest.approx(6 / 5)
    assert hypervolume_ratio(middle, ends, [0.0, 0.0], volume=mixed_hypervolume) == pytest.approx(1.0)
    assert mixed_hypervolume([[-1.0, 1.0]], [0.0, 0.0]) == 0.0
    assert mixed_hypervolume([[2.0], [3.0]], [1.0]) == 2.0
    # The cube's corner less nothing: one point's mixtures are its box.
    assert mixed_hypervolume([[1.0, 2.0, 3.0]], [0.0, 0.0, 0.0]) == pytest.approx(6.0)


def test_mixtures_of_points_on_or_below_the_reference_point_count() -> None:
    # The triangle under the line from (0, 10) to (10, 0), although its ends are not above (0, 0).
    ends = [[0.0, 10.0], [10.0, 0.0]]
    assert mixed_hypervolume(ends, [0.0, 0.0]) == pytest.approx(50.0)
    assert mixed_hypervolume([*ends, [5.0, 5.0]], [0.0, 0.0]) == pytest.approx(50.0)
    # What is left of the same triangle above (1, 2) has sides of 7.
    assert mixed_hypervolume(ends, [1.0, 2.0]) == pytest.approx(24.5)
    assert mixed_hypervolume(ends, [5.0, 5.0]) == pytest.approx(0.0, abs=1e-9)
    # A policy that tosses a coin between the ends dominates no more than the exact front's mixtures do.
    front = [*ends, [3.1, 6.4]]
    assert hypervolume_ratio([[3.0, 7.0]], ends, [0.0, 0.0], volume=mixed_hypervolume) < 1.0
    assert hypervolume_ratio(front, front, [1.0, 1.0], volume=mixed_hypervolume) == pytest.approx(1.0)
    # The corner of a cube: a simplex with sides of 6, a sixth of whose cube it is.
    assert mixed_hypervolume(6.0 * np.eye(3), [0.0, 0.0, 0.0]) == pytest.approx(36.0)
    assert mixed_hypervolume(6.0 * np.eye(3), [1.0, 0.0, 0.0]) == pytest.approx(125 / 6)


@given(whole_points, st.integers(0, 2**16))
def test_mixtures_cover_what_points_do_and_no_more_than_mixing_adds(points: np.ndarray, seed: int) -> None:
    corner = np.full(points.shape[1], -4.0)
    assert mixed_hypervolume(points, corner) >= hypervolume(points, corner) - 1e-9
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(points)), size=4)
    assert mixed_hypervolume(np.vstack([points, shares @ points]), corner) == pytest.approx(
        mixed_hypervolume(points, corner)
    )


def test_published_fronts(shared_data: Path) -> None:
    fronts = json.loads((shared_data / "morl_fronts" / "morl_reference_fronts.json").read_text())
    for name, game in fronts.items():
        for key in [k for k in game if "front" in k and "approx" not in k]:
            points = np.array(game[key])
            assert len(pareto_front(points)) == len(points), f"{name} {key} is a front"
            worse = points - np.random.default_rng(0).uniform(0.01, 1.0, points.shape)
            np.testing.assert_array_equal(pareto_front(np.vstack([worse, points])), pareto_front(points))


def test_deep_sea_treasures_front_from_its_map(shared_data: Path) -> None:
    fronts = json.loads((shared_data / "morl_fronts" / "morl_reference_fronts.json").read_text())
    for name in ("deep-sea-treasure-convex", "deep-sea-treasure-concave"):
        board = np.array(fronts[name]["map"])
        found = [[board[r, c], -float(r + c)] for r, c in np.argwhere(board > 0)]
        front = np.array(fronts[name]["undiscounted_front"])
        np.testing.assert_allclose(pareto_front(found), pareto_front(front), atol=1e-6)
        # By hand: the stairs' area, one column for each treasure.
        corner, area, reached = np.array([0.0, -25.0]), 0.0, 0.0
        for treasure, time in sorted(map(tuple, front)):
            area += (treasure - reached) * (time - corner[1])
            reached = treasure
        assert hypervolume(found, corner) == pytest.approx(area)


def test_a_convex_front_is_all_supported_and_a_concave_one_is_not(shared_data: Path) -> None:
    fronts = json.loads((shared_data / "morl_fronts" / "morl_reference_fronts.json").read_text())
    users = simplex_grid(["treasure", "time"], 400)

    def chosen(name: str) -> set[int]:
        front = np.array(fronts[name]["undiscounted_front"])
        scaled = rescale(front, front.min(0), front.max(0))
        return {int((scaled @ w.aligned_to(["treasure", "time"])).argmax()) for w in users}

    # Three of the convex front's points lie on one line: the middle one is never better.
    assert chosen("deep-sea-treasure-convex") >= {0, 1, 2, 3, 4, 5, 6, 8, 9}
    assert chosen("deep-sea-treasure-concave") == {0, 9}


def test_expected_utility_by_hand() -> None:
    # Weights 0, .5, 1 on the first: the best choices are worth 4, 3 (either), 6; (2, 4) and (6, 0).
    points = [[2.0, 4.0], [6.0, 0.0], [1.0, 1.0]]
    assert expected_utility(points, ["a", "b"], simplex_grid(["a", "b"], 2)) == pytest.approx(13 / 3)
    assert expected_utility(points, ["a", "b"], [SteeringWeights(b=1.0)]) == 4.0


@given(whole_points)
def test_expected_utility_needs_the_front_alone(points: np.ndarray) -> None:
    names = [f"o{i}" for i in range(points.shape[1])]
    users = simplex_grid(names, 5)
    assert expected_utility(points, names, users) == pytest.approx(
        expected_utility(pareto_front(points), names, users)
    )


def test_rescale() -> None:
    np.testing.assert_allclose(
        rescale([[0.0, 5.0], [5.0, 5.0], [10.0, 5.0]], [0.0, 5.0], [10.0, 5.0]), [[0, 1], [0.5, 1], [1, 1]]
    )


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        pareto_front([1.0, 2.0])
    with pytest.raises(InputError, match="finite"):
        hypervolume([[np.nan, 1.0]], [0.0, 0.0])
    with pytest.raises(InputError, match="must be 2 finite numbers"):
        hypervolume([[1.0, 1.0]], [0.0])
    with pytest.raises(InputError, match="no volume"):
        hypervolume_ratio([[1.0, 1.0]], [[0.0, 1.0]], [0.0, 0.0])
    with pytest.raises(InputError, match="unknown objective"):
        expected_utility([[1.0]], ["a"], [SteeringWeights(b=1.0)])
    with pytest.raises(InputError, match="a name for each of 2 columns"):
        expected_utility([[1.0, 2.0]], ["a"], [SteeringWeights(a=1.0)])
