"""Pairs of options by their advantages: golden labels, what is left out, and what is learned from them."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Decision, InputError, Objective, Step, Trajectory
from pluralign.core.records import read_header, read_pairs
from pluralign.core.splits import split_of
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.pair.siblings import sibling_pairs, write_sibling_pairs

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parents[1] / "learn" / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

POINTS = Objective("points", "Points are gained.", {"points": 1.0})
FIRST, SECOND = Decision("first", ("a", "b", "c")), Decision("second", ("d", "e"))


def episode(name, *steps, **changed):
    made = tuple(
        Step(decision, action, counts={"points": float(points)}) for decision, action, points in steps
    )
    return replace(Trajectory(name, "made up", "nobody", 0, made, terminated=True), **changed)


# From the first decision on: a 10 and 2, b 3, c 4; from the second on: d 8 and 0, e 1. The means of the first
# are 6, 3 and 4, its mean over episodes 19/4; those of the second 4 and 1.
PLAYED = [
    episode("0", (FIRST, 0, 2), (SECOND, 0, 8)), episode("1", (FIRST, 0, 2), (SECOND, 0, 0)),
    episode("2", (FIRST, 1, 2), (SECOND, 1, 1)), episode("3", (FIRST, 2, 4)),
]  # fmt: skip
# Advantages of the steps: twice 6, once 3, once 4, less 19/4; twice 4 and once 1, less 3.
DEVIATION = float(np.std([1.25, 1.25, -1.75, -0.75, 1, 1, -2]))


def labels(pairs):
    return {
        (p.chosen.steps[0].decision.prompt, p.chosen.steps[0].action, p.rejected.steps[0].action): p.weight
        for p in pairs
    }


def test_labels_are_as_sure_as_the_advantages_differ():
    pairs = sibling_pairs(PLAYED, POINTS, temperature=0.5)
    unit = 0.5 * DEVIATION
    expected = {("first", 0, 1): 3, ("first", 0, 2): 2, ("first", 2, 1): 1, ("second", 0, 1): 3}
    assert labels(pairs) == {
        key: pytest.approx(1 / (1 + math.exp(-gap / unit))) for key, gap in expected.items()
    }
    assert {pair.objective for pair in pairs} == {"points"}
    counts = {name: count for name, count in pairs.counts.items() if not name.startswith("pairs_")}
    assert counts == {
        "trajectories": 4, "truncated": 0, "steps": 7, "unknown": 0, "decisions": 2, "lone": 0, "ties": 0,
        "pairs": 4,
    }  # fmt: skip
    sure = sibling_pairs(PLAYED, POINTS, temperature=1e-3)
    assert all(pair.weight == pytest.approx(1) for pair in sure)


def test_a_constant_changes_nothing_and_the_splits_are_those_of_the_decisions():
    pairs = sibling_pairs(PLAYED, POINTS)
    moved = [
        replace(one, steps=(*one.steps[:-1], replace(one.steps[-1], counts={"points": p + 100})))
        for one, p in zip(PLAYED, (8, 0, 1, 4), strict=True)
    ]
    for key, weight in labels(sibling_pairs(moved, POINTS)).items():
        assert weight == pytest.approx(labels(pairs)[key], rel=1e-9)
    for pair in pairs:
        assert pair.chosen.trajectory_id == pair.rejected.trajectory_id
        assert pair.split == split_of(pair.chosen.trajectory_id)


def test_equal_options_are_ties_and_what_is_not_known_is_left_out():
    cut = episode("4", (FIRST, 1, 50), terminated=False, truncated=True)
    unknown = episode("5", (FIRST, 0, 6), (Decision("lone", ("x", "y")), 0, 0), (SECOND, 1, 0),
                      info={"last_step": "nothing"})  # fmt: skip
    even = episode("6", (SECOND, 1, 7))
    pairs = sibling_pairs([*PLAYED, cut, unknown, even], POINTS)
    found = labels(pairs)
    # e: the mean of 1 and 7 is that of d.
    assert found["second", 0, 1] == 0.5
    assert found["first", 0, 1] > 0.5
    counts = pairs.counts
    assert [counts[name] for name in ("trajectories", "truncated", "steps", "unknown")] == [7, 1, 10, 1]
    assert [counts[name] for name in ("decisions", "lone", "ties", "pairs")] == [3, 1, 1, 4]
    # Points of the last step are all that is known of it.
    points = replace(unknown, info={"last_step": "points"})
    assert sibling_pairs([*PLAYED, points], POINTS).counts["unknown"] == 0


def test_the_policy_of_contrastive_learning_is_known(tmp_path):
    chain = toy.Chain(0)
    decision, store = chain.decisions[0][0], toy.OneHot(chain)
    steps = [Step(decision, i, {"treasure": reward}) for i, reward in enumerate((0.0, 1.0, 3.0))] * 2
    played = [
        Trajectory(str(i), "chain", "random", 0, (step,), terminated=True) for i, step in enumerate(steps)
    ]
    pairs = sibling_pairs(played, Objective("treasure", "Found."), shares=(1, 0, 0))
    config = CPLConfig(
        steps=600, hidden=0, learning_rate=0.1, weight_decay=0, alpha=1, bc_share=0, batch_size=3
    )
    policy = fit_cpl(pairs, store=store, out=tmp_path, config=config)
    unit = 0.5 * float(np.std([0, 1, 3]))
    best = np.exp(np.array([0, 1, 3]) / unit)
    np.testing.assert_allclose(np.exp(policy.log_probs([decision])[0]), best / best.sum(), atol=2e-3)


def test_files_are_read_again(tmp_path):
    pairs = sibling_pairs(PLAYED, POINTS)
    out = tmp_path / "pairs.jsonl"
    write_sibling_pairs(
        out, pairs, objective="points", temperature=0.5, shares=(0.8, 0.1, 0.1), seed=0, source="t.jsonl"
    )
    assert labels(read_pairs(out)) == labels(pairs)
    header = read_header(out, "pairs")
    assert (header["recipe"], header["temperature"], header["counts"]) == ("siblings", 0.5, pairs.counts)


def test_refusals():
    with pytest.raises(InputError, match="none of the 1 episodes ended"):
        sibling_pairs([replace(PLAYED[0], terminated=False, truncated=True)], POINTS)
    with pytest.raises(InputError, match="at each of the 2 decisions all episodes took the same option"):
        sibling_pairs(PLAYED[:2], POINTS)
    with pytest.raises(InputError, match="the options of all 1 pairs do equally well"):
        sibling_pairs([episode("0", (SECOND, 0, 1)), episode("1", (SECOND, 1, 1))], POINTS)
    with pytest.raises(InputError, match="have no rewards for it"):
        sibling_pairs(PLAYED, Objective("gold", "Gold."))
    with pytest.raises(InputError, match="row 1: expected a Trajectory"):
        sibling_pairs([PLAYED[0], 3], POINTS)
    for name, value in {"temperature": 0.0, "seed": -1, "shares": (1, 1, 0)}.items():
        with pytest.raises(InputError, match=name):
            sibling_pairs(PLAYED, POINTS, **{name: value})
    with pytest.raises(InputError, match="none of the 0 episodes"):
        sibling_pairs([], POINTS)
