"""Numbers of ChoiceScript: fairmath, and how numbers print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pluralign.games.choicescript.language.values import text
from pluralign.games.choicescript.run.operators import fair_add, fair_subtract


def test_fairmath_rounds_as_the_official_engine() -> None:
    # 50 + 20 * (100 - 50)/100 = 60; 60 + 20 * 0.4 = 68; 80 + 8 * 0.2 = 81.6 -> 81
    assert [fair_add(50, 20), fair_add(60, 20), fair_add(80, 8)] == [60, 68, 81]
    # 50 - 20 * 0.5 = 40; 33 - 20 * 0.33 = 26.4 -> 27
    assert [fair_subtract(50, 20), fair_subtract(33, 20)] == [40, 27]
    assert [fair_add(99, 90), fair_subtract(1, 90)] == [99, 1]


@given(st.integers(0, 100), st.integers(0, 100))
def test_fairmath_stays_within_bounds(start: int, change: int) -> None:
    up, down = fair_add(start, change), fair_subtract(start, change)
    assert isinstance(up, int)
    assert isinstance(down, int)
    assert min(start, 99) <= up <= 99 or change == 0
    assert 1 <= down <= 99 or change == 0


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (3, "3"),
        (3.0, "3"),
        (0.1, "0.1"),
        (1 / 3, "0.3333333333333333"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-7"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
    ],
)
def test_numbers_print_as_in_javascript(number: float, printed: str) -> None:
    assert text(number) == printed
