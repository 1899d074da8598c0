import math

import pytest
from collect_fakes import HONESTY, SCORE, TowerGame

from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.oracle import Noise, Oracle, oracle
from pluralign.collect.roll_out import roll_out
from pluralign.core import (
    Comparison,
    Decision,
    InputError,
    Objective,
    Segment,
    Step,
    Trajectory,
    UniformPolicy,
)


def one_step(name, points, rewards=None):
    step = Step(Decision("p", ("a", "b")), 0, rewards or {}, {"points": points} if points else {})
    return Trajectory(name, "made up", "nobody", 0, (step,), terminated=True)


def many(first, second, n=4000):
    """n comparisons of a return with another."""
    trajectories = [one_step(f"{side}{i}", r) for i in range(n) for side, r in (("a", first), ("b", second))]
    by_id = {t.id: t for t in trajectories}
    return by_id, [Comparison(by_id[f"a{i}"].segment(), by_id[f"b{i}"].segment()) for i in range(n)]


def share_first(by_id, comparisons, noise, seed=0):
    ratings = [oracle(c, SCORE, by_id, noise=noise, seed=seed) for c in comparisons]
    assert not any(r.preference == "tie" for r in ratings)
    return sum(r.preference == "first" for r in ratings) / len(ratings)


def test_it_prefers_the_higher_return_of_recorded_counts():
    trajectories = list(roll_out(TowerGame, UniformPolicy(), episodes=60, seed=1, objectives=[SCORE]))
    by_id = {t.id: t for t in trajectories}
    seen = set()
    for c in make_comparisons(trajectories, count=200, seed=0):
        for objective in (SCORE, HONESTY):
            returns = [sum(objective.reward(s.counts) for s in x.steps) for x in (c.first, c.second)]
            rating = oracle(c, objective, by_id)
            expected = (
                "tie" if returns[0] == returns[1] else ("first" if returns[0] > returns[1] else "second")
            )
            assert rating.preference == expected
            assert rating.info == {"returns": returns}
            seen.add(expected)
    assert seen == {"first", "second", "tie"}


def test_segments_read_from_a_file_hold_no_counts_but_are_rated_alike():
    by_id, [comparison] = many(3.0, 1.0, 1)
    bare = Comparison(
        *(
            Segment(s.trajectory_id, 0, (Step(s.steps[0].decision, 0),))
            for s in (comparison.first, comparison.second)
        )
    )
    assert oracle(bare, SCORE, by_id).preference == "first"


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.5])
def test_labels_flip_as_often_as_told(flip):
    n = 4000
    share = share_first(*many(2.0, 1.0, n), Noise(flip=flip))
    # Five standard deviations.
    assert abs(share - (1 - flip)) <= 5 * math.sqrt(flip * (1 - flip) / n)


@pytest.mark.parametrize(
    ("rationality", "gap"), [(0.0, 1.0), (0.5, 1.0), (1.0, 2.0), (2.0, -1.0), (1e6, 1.0)]
)
def test_boltzmann_rationality(rationality, gap):
    n = 4000
    share = share_first(*many(5.0 + gap, 5.0, n), Noise(rationality=rationality))
    expected = 1 / (1 + math.exp(-min(700.0, rationality * gap)))
    assert abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / n) + 1e-12


def test_both_noises_together():
    n, flip, beta = 4000, 0.2, 1.0
    share = share_first(*many(1.0, 0.0, n), Noise(flip=flip, rationality=beta))
    right = 1 / (1 + math.exp(-beta))
    expected = right * (1 - flip) + (1 - right) * flip
    assert abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / n)


def test_noise_depends_on_the_two_segments_alone():
    by_id, comparisons = many(2.0, 1.0, 300)
    noise = Noise(flip=0.4)
    usual = [oracle(c, SCORE, by_id, noise=noise, seed=1) for c in comparisons]
    rater = Oracle(list(by_id.values()), noise=noise, seed=1)
    assert rater.rate(comparisons[::-1], SCORE)[::-1] == usual
    exchanged = [
        oracle(Comparison(c.second, c.first), SCORE, by_id, noise=noise, seed=1) for c in comparisons
    ]
    assert [r.preference == "first" for r in usual] == [r.preference == "second" for r in exchanged]
    assert [oracle(c, SCORE, by_id, noise=noise, seed=2) for c in comparisons] != usual
    assert sum("erred" in r.info for r in usual) == sum(r.preference == "second" for r in usual) > 0


def test_ties_stay_ties_under_noise():
    by_id, comparisons = many(1.0, 1.0, 50)
    noise = Noise(flip=0.5, rationality=0.1)
    assert {oracle(c, SCORE, by_id, noise=noise).preference for c in comparisons} == {"tie"}


def test_sums_in_another_order_are_a_tie():
    steps = [Step(Decision(f"{i}", ("a", "b")), 0, {}, {"points": p}) for i, p in enumerate((0.1, 0.2, 0.3))]
    a = Trajectory("a", "s", "p", 0, tuple(steps), terminated=True)
    b = Trajectory("b", "s", "p", 0, tuple(steps[::-1]), terminated=True)
    assert oracle(Comparison(a.segment(), b.segment()), SCORE, {"a": a, "b": b}).preference == "tie"


def test_recorded_rewards_serve_objectives_without_coefficients():
    taste = Objective("taste", "Tastes better.")
    a, b = one_step("a", 0, {"taste": 1.0}), one_step("b", 9, {"taste": 2.0})
    comparison = Comparison(a.segment(), b.segment())
    assert oracle(comparison, taste, {"a": a, "b": b}).preference == "second"
    with pytest.raises(InputError, match="objective 'other' has no coefficients"):
        oracle(comparison, Objective("other", "Other."), {"a": a, "b": b})


def test_a_last_step_whose_reward_is_not_known_is_not_taken_for_one_of_zero():
    harmless = Objective("harm_avoidance", "It harms nobody.", {"violations.x": -1.0})

    def episode(name, action, known, **counts):
        steps = (Step(Decision("d", ("a",)), 0), Step(Decision("e", ("a", "b")), action, counts=counts))
        return Trajectory(name, "s", "p", 0, steps, terminated=True, info={"last_step": known})

    played = [
        episode("t0", 0, "whole", **{"points": 1.0, "violations.x": 3.0}),
        episode("t1", 1, "points", points=2.0),
    ]
    (last,) = make_comparisons(played, count=1, seed=0)
    assert {last.first.start, last.second.start} == {1}
    assert Oracle(played).rate([last], harmless) == [None]
    (rating,) = Oracle(played).rate([last], SCORE)
    assert rating is not None
    assert sorted(rating.info["returns"]) == [1.0, 2.0]


def played_to(name, points, *, truncated=False):
    steps = [Step(Decision(f"{n}", ("a", "b")), int(p), counts={"points": p}) for n, p in enumerate(points)]
    return Trajectory(name, "s", "p", 0, tuple(steps), terminated=not truncated, truncated=truncated)


def test_what_an_episode_got_before_it_was_cut_off_is_not_taken_for_its_return():
    cut, whole = played_to("cut", [0, 1, 0], truncated=True), played_to("whole", [1, 0, 1, 1])
    to_the_end = Comparison(cut.segment(), whole.segment())
    before = Comparison(cut.segment(0, 2), whole.segment(0, 2))
    at_the_end = Comparison(cut.segment(1, 3), whole.segment(1, 3))
    assert [one and one.preference for one in Oracle([cut, whole]).rate([to_the_end, before], SCORE)] == [
        None,
        "tie",
    ]
    # Segments of two steps are whole.
    rater = Oracle([cut, whole], length=2)
    assert [one and one.preference for one in rater.rate([to_the_end, at_the_end], SCORE)] == [None, "tie"]
    # Labels of earlier versions are not mixed with these.
    assert rater.settings != Oracle([whole]).settings == {**Oracle([]).settings}


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, True])
def test_coefficients_that_are_no_numbers_are_refused(value):
    """With NaN, all returns would be different, and the second one better."""
    with pytest.raises(InputError, match=r"field 'coefficients\.points': must be a finite number"):
        Objective("score", "More points.", {"points": value})


def test_trajectories_must_be_those_compared():
    by_id, [comparison] = many(1.0, 2.0, 1)
    with pytest.raises(InputError, match="'a0' is not among those given"):
        oracle(comparison, SCORE, {})
    other = Trajectory("a0", "s", "p", 0, (Step(Decision("else", ("x",)), 0),), terminated=True)
    with pytest.raises(InputError, match="does not contain the segment a0:0:1"):
        oracle(comparison, SCORE, {**by_id, "a0": other})


@pytest.mark.parametrize(
    "changed", [{"flip": -0.1}, {"flip": 0.6}, {"rationality": -1}, {"rationality": math.inf}]
)
def test_bad_noise(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        Noise(**changed)
