"""Orders in which searches try options, worked out by hand."""

from __future__ import annotations

import math
from collections import Counter
from functools import partial

import numpy as np
import pytest
from search_games import ONLY, Fixed, TableGame

from pluralign.core import InputError
from pluralign.steer.search.orders import Bavt, Beam, Ved, best_first, in_proportion
from pluralign.steer.search.play import search_play
from pluralign.steer.search.tree import LEAST, SearchTree


def test_a_beam_tries_all_options_of_its_states(tree_game):
    for width, calls in ((1, 6), (2, 10), (4, 14)):
        values = Fixed({state: [0.5, 1.0] for state in tree_game})
        found = search_play(
            TableGame(tree_game), values, ONLY, budget=99, method=partial(lambda w, rng: Beam(w), width)
        )
        assert found.calls == calls
    with pytest.raises(InputError, match="width"):
        Beam(0)


def test_a_beam_is_as_wide_as_the_budget_affords(tree_game):
    # Values lead to the worst end. A pass of width 1 costs 6 and ends at 1 instead of 0.
    values = Fixed({state: [1.0, 0.0] for state in tree_game} | {f"2.{n}": [-n, -n] for n in range(4)})
    found = [search_play(TableGame(tree_game), values, ONLY, budget=budget) for budget in (6, 10, 14)]
    # 6 more calls afford a width of 2, 8 more too; what was tried is not paid again.
    assert [one.calls for one in found] == [6, 10, 14]
    assert [one.total for one in found] == [1, 3, 7]


def test_a_beam_skips_widths_that_it_can_afford_to_skip():
    table = {"s": [(0, name) for name in "abc"]}
    table |= {name: [(0, f"{name}{n}") for n in range(2)] for name in "abc"}
    table |= {f"{name}{n}": [(0, "end")] for name in "abc" for n in range(2)}
    rests = {"a": [3.0, 0.0], "b": [2.0, 0.0], "c": [1.0, 0.0], "b0": [1.0], "c0": [5.0], "c1": [5.0]}
    tried = {}
    for budget in (12, 24):
        tree, order, tried[budget] = SearchTree(TableGame(table), Fixed(rests), ONLY, budget, 200), Beam(), []
        while tree.calls < budget and (node := order(tree)) is not None:
            tried[budget].append(node.state)
            tree.try_next(node)
    first = ["s", "s", "s", "a", "a", "a0"]
    # The first pass costs 6. 6 more afford a width of 2, in which b0 and a0 are best, and then one of 3; 18
    # more afford a width of 3 at once, in which c0, c1 and b0 are best.
    assert tried[12] == [*first, "b", "b", "b0", "c", "c", "c0"]
    assert tried[24][:13] == [*first, "b", "b", "c", "c", "c0", "c1", "b0"]


def test_probabilities_in_proportion_to_powers():
    assert in_proportion([0.5, 1.0], 1.0) == pytest.approx([1 / 3, 2 / 3])
    assert in_proportion([0.5, 1.0], 10.0)[0] == pytest.approx(1 / 1025)
    assert in_proportion([LEAST, 1.0], 1e12).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("budget", "power"), [(math.inf, 1), (8, 2), (4.04, 101)])
def test_bavt_draws_in_proportion_to_powers_of_values(budget, power):
    table = {"s": [(0, name) for name in "abcd"]} | {name: [(0, "end")] for name in "abcd"}
    rests = {"s": [0.0] * 4, "a": [0.1], "b": [0.2], "c": [0.3], "d": [0.4]}
    tree = SearchTree(TableGame(table), Fixed(rests), ONLY, budget, 200)
    for _ in range(4):
        tree.try_next(tree.root)
    order, draws = Bavt(np.random.default_rng(0)), 4000
    counts = Counter(order(tree).state for _ in range(draws))
    # The smallest sum met so far is 0, that of the start, and the largest 0.4. All, half or 1/101 of the
    # budget is left.
    values = np.array([0.25, 0.5, 0.75, 1.0]) ** power
    expected = draws * values / values.sum()
    chi = float((((np.array([counts[name] for name in "abcd"]) - expected) ** 2) / expected).sum())
    assert chi < 16.27  # 0.1 % of the distribution with three degrees of freedom lies above


def test_values_are_mapped_above_zero():
    tree = SearchTree(TableGame({"s": [(0, "a")], "a": [(0, "end")]}), Fixed({"a": [-3.0]}), ONLY, 5, 200)
    assert tree.unit(0.0) == 1.0
    tree.try_next(tree.root)
    assert [tree.unit(value) for value in (-3.0, -1.5, 0.0)] == [LEAST, 0.5, 1.0]
    assert tree.left == pytest.approx(0.8)


def test_ved_descends_by_worth_and_visits():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "c"), (0, "d")], "b": [(0, "e"), (0, "f")]} | {
        name: [(0, "end"), (0, "end")] for name in "cdef"
    }
    rests = {"s": [1.0, 2.0], "a": [1.0, 0.0], "b": [2.0, 1.9], "e": [1.8, 0.0], "f": [1.7, 0.0]}
    tree = SearchTree(TableGame(table), Fixed(rests), ONLY, math.inf, 200)
    order, tried = Ved(curiosity=0.0), []
    for _ in range(9):
        node = order(tree)
        tried.append(node.state)
        tree.try_next(node)
    # At first only b and then only e are at least the mean of their depth. When no state is, the bonus
    # decides: ln(8) = 2.08, a 0.5 + sqrt(2.08 / 1) = 1.94 against b 1 + sqrt(2.08 / 5) = 1.64. Then c lowers
    # the mean, so that f is above it, and a is not.
    assert tried == ["s", "s", "b", "b", "e", "e", "a", "f", "f"]


def test_ved_goes_where_the_values_are_undecided():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "end"), (0, "end")], "b": [(0, "end"), (0, "end")]}
    rests = {"s": [1.0, 1.0], "a": [1.0, 0.0], "b": [1.0, 1.0]}
    for curiosity, first in ((0.0, "a"), (0.1, "b")):
        tree = SearchTree(TableGame(table), Fixed(rests), ONLY, math.inf, 200)
        order = Ved(curiosity=curiosity)
        for _ in range(2):
            tree.try_next(order(tree))
        assert order(tree).state == first


def test_best_first_takes_up_what_promises_most():
    table = {"s": [(0, "a"), (0, "b")], "a": [(0, "end"), (0, "end")], "b": [(0, "end")]}
    tree = SearchTree(TableGame(table), Fixed({"s": [3.0, 2.5], "a": [2.0, 1.0], "b": [2.5]}), ONLY, 9, 200)
    tried = []
    while (node := best_first(tree)) is not None:
        tried.append((node.state, node.waiting[0]))
        tree.try_next(node)
    # After its first option, s promises 2.5 and not 3 any more.
    assert tried == [("s", 0), ("s", 1), ("b", 0), ("a", 0), ("a", 1)]
