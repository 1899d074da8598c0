import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import InputError, SteeringWeights, simplex_grid

NAMES = ("care", "gain", "truth")


@given(st.lists(st.floats(0.001, 1e6), min_size=3, max_size=3), st.permutations(NAMES))
def test_alignment_follows_names_not_order(raw: list[float], order: list[str]) -> None:
    total = sum(raw)
    weights = SteeringWeights({name: value / total for name, value in zip(NAMES, raw, strict=True)})
    aligned = weights.aligned_to(order)
    assert aligned.sum() == pytest.approx(1.0, abs=1e-12)
    assert [weights[name] for name in order] == list(aligned)


def test_absent_objectives_get_zero() -> None:
    assert list(SteeringWeights(care=1.0).aligned_to(NAMES)) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"care": -0.1, "gain": 1.1}, "not negative, found -0.1"),
        ({"care": 0.5, "gain": 0.4}, "must sum to 1, found 0.9"),
        ({"care": float("nan")}, "must be finite"),
        ({"care": float("inf")}, "must be finite"),
        ({"care": "1"}, "must be a number"),
        ({"care": True}, "must be a number"),
        ({}, "empty"),
    ],
)
def test_bad_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SteeringWeights(weights)


def test_unknown_objectives_are_named() -> None:
    with pytest.raises(InputError, match="unknown objective 'greed'; known: care, gain, truth"):
        SteeringWeights(greed=1.0).aligned_to(NAMES)


@pytest.mark.parametrize(
    "text", ["care", "care=", "care=x", "=1", "care=0.5,care=0.5", "care=0.5;gain=0.5", ""]
)
def test_unreadable_texts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="weights"):
        SteeringWeights.parse(text)


def test_parse_reads_what_the_command_line_takes() -> None:
    assert SteeringWeights.parse("care=0.25, gain=.75") == SteeringWeights(care=0.25, gain=0.75)


@given(st.integers(1, 4), st.integers(1, 6))
def test_simplex_grid_is_complete_and_distinct(n: int, steps: int) -> None:
    names = [f"o{i}" for i in range(n)]
    grid = simplex_grid(names, steps)
    expected = int(np.prod([(steps + i) / i for i in range(1, n)]).round()) if n > 1 else 1
    assert len(grid) == len(set(grid)) == expected
    counts = {tuple(np.rint(w.aligned_to(names) * steps).astype(int)) for w in grid}
    assert all(sum(c) == steps for c in counts)


def test_a_grid_has_different_objectives() -> None:
    with pytest.raises(InputError, match="field 'names': objective 'care' is named twice"):
        simplex_grid(["care", "gain", "care"], 2)


def test_two_objectives_rise_with_the_first() -> None:
    assert [w["care"] for w in simplex_grid(["care", "gain"], 10)] == pytest.approx(np.arange(11) / 10)
