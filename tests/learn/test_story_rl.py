"""A policy gradient on a story of three choices, whose returns are exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_story import write_story

import pluralign as pl
from pluralign.core import InputError, SteeringWeights, UniformPolicy
from pluralign.core.level import Level
from pluralign.folders.card import load_card
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import explore
from pluralign.learn.combination import Tail
from pluralign.learn.constraints import Constrained
from pluralign.learn.options import story_rounds
from pluralign.learn.options.continuations import Player, Start
from pluralign.learn.options.story_rl import fit_story_rl
from pluralign.learn.options.story_rounds import StoryRLConfig
from pluralign.learn.weighting import ByHypervolume, Fixed
from pluralign.losses.advantages import centred_sum, fused_sum, gdpo
from pluralign.options.checkpoint import load_policy
from pluralign.options.features import DecisionFeatures
from pluralign.steer.targets import meet_targets

NAMES = ("score", "harm_avoidance")
HALF = SteeringWeights(score=0.5, harm_avoidance=0.5)


class Table:
    """One feature for each option of each decision."""

    fingerprint = "table"

    def __init__(self, decisions):
        self._first, self.dimension = {}, 0
        for decision in decisions:
            self._first[decision.key] = self.dimension
            self.dimension += len(decision.options)

    def get(self, decisions):
        found = []
        for decision in decisions:
            own = np.eye(self.dimension, dtype=np.float32)[self._first[decision.key] :][
                : len(decision.options)
            ]
            count = len(decision.options)
            found.append(DecisionFeatures(own, np.zeros(count), np.ones(count, dtype=np.int64)))
        return found


@pytest.fixture(scope="module")
def toll(tmp_path_factory):
    story = pl.open_story(str(write_story(tmp_path_factory.mktemp("stories") / "toll")))
    graph = explore(story.make_game())
    return story, graph, Table(graph.decisions), story.info.select(NAMES)


QUICK = StoryRLConfig(
    rounds=40, block=10, episodes=16, decisions=8, samples=8, learning_rate=0.02, hidden=0, kl=0.1
)


def fit(toll, out, weighting, config=QUICK, **more):
    story, graph, store, objectives = toll
    policy = fit_story_rl(
        story.make_game,
        objectives=objectives,
        store=store,
        out=out,
        weighting=weighting,
        config=config,
        **more,
    )
    return policy, exact_returns(graph, policy, objectives).objectives


def test_continuations_restore_their_state_and_keep_the_past(toll):
    story, _, _, objectives = toll
    player = Player(story.make_game, objectives, UniformPolicy(), 200)
    starts = [Start(np.random.default_rng(i)) for i in range(70)]
    played = player.play(UniformPolicy(), starts)
    assert all(len(one.decisions) == 3 for one in played)
    assert all(one.log_ratio == 0 for one in played)
    # Plays do not depend on one another.
    (alone,) = player.play(UniformPolicy(), [Start(np.random.default_rng(69))])
    assert alone.actions == played[69].actions
    assert (alone.total == played[69].total).all()
    own = played[0]
    continued = player.play(
        UniformPolicy(), [Start(np.random.default_rng(i), own.states[1], own.pasts[1]) for i in range(40)]
    )
    assert all(one.decisions[0] == own.decisions[1] for one in continued)
    assert {one.actions[0] for one in continued} == {0, 1}
    same = [one for one in continued if one.actions == own.actions[1:]]
    assert same
    assert all((one.total == own.total).all() for one in same)


def test_a_continuation_is_cut_off_where_its_episode_is(toll):
    story, _, _, objectives = toll
    player = Player(story.make_game, objectives, UniformPolicy(), 2)
    (own,) = player.play(UniformPolicy(), [Start(np.random.default_rng(0))])
    assert [len(own.decisions), own.places] == [2, [0, 1]]
    start = Start(np.random.default_rng(1), own.states[1], own.pasts[1], own.places[1])
    (continued,) = player.play(UniformPolicy(), [start])
    assert len(continued.decisions) == 1


@pytest.mark.parametrize("weights", [SteeringWeights(score=1.0, harm_avoidance=0.0), HALF], ids=str)
def test_the_weighted_return_rises_to_its_optimum(toll, tmp_path, weights):
    _, graph, _, objectives = toll
    policy, found = fit(toll, tmp_path / "out", Fixed(weights), replace(QUICK, kl=0.02))
    card = load_card(tmp_path / "out")
    first, *_, last = card.figures["curve"]
    front = pl.exact_front(graph, objectives).points
    units = np.array([weights[name] / first["scales"][name]["deviation"] for name in NAMES])
    uniform = exact_returns(graph, UniformPolicy(), objectives).objectives
    value, start = (units @ [own[name] for name in NAMES] for own in (found, uniform))
    best = max(units @ point for point in front)
    assert value > start + 0.8 * (best - start)
    assert first["samples"] == 64
    assert last["samples"] == 5 * 64 + 40 * (16 + 64)
    assert last["kl"] > 0.5
    loaded = load_policy(tmp_path / "out", toll[2])
    assert all(
        (one == other).all()
        for one, other in zip(
            loaded.log_probs(graph.decisions), policy.log_probs(graph.decisions), strict=True
        )
    )


def test_fused_baselines_learn_as_well(toll, tmp_path):
    found = {}
    for combine in (centred_sum, fused_sum):
        config = replace(QUICK, kl=0.02, samples=2, decisions=16)
        _, returns = fit(toll, tmp_path / combine.__name__, Fixed(HALF), config, combine=combine)
        found[combine] = returns["score"] + returns["harm_avoidance"]
        assert load_card(tmp_path / combine.__name__).config["combine"] == combine.__name__
    assert found[fused_sum] != found[centred_sum]
    assert found[fused_sum] == pytest.approx(found[centred_sum], rel=0.2)


def test_targets_are_met_by_the_multipliers_of_meet_targets(toll, tmp_path):
    story, _, _, objectives = toll
    played = Player(story.make_game, objectives, UniformPolicy(), 9).play(
        UniformPolicy(), [Start(np.random.default_rng([7, i])) for i in range(1000)]
    )
    returns = np.array([one.total for one in played])
    level = float(returns[:, 1].mean() + 0.4 * returns[:, 1].std())
    palette = meet_targets(dict(zip(NAMES, returns.T, strict=True)), {"harm_avoidance": level})
    weighting = Constrained(NAMES, at_least={"harm_avoidance": Level(level)}, rate=0.2)
    config = replace(QUICK, kl=1.0, rounds=150, block=50, decisions=8)
    _, found = fit(toll, tmp_path / "out", weighting, config)
    figures = load_card(tmp_path / "out").figures
    assert found["harm_avoidance"] == pytest.approx(level, abs=0.15 * returns[:, 1].std())
    assert figures["missed"] == {}
    assert figures["multipliers"]["score"] == 0
    expected = palette.multipliers["harm_avoidance"] * returns[:, 1].std()
    assert figures["multipliers"]["harm_avoidance"] == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("more", [{"weighting": ByHypervolume(HALF)}, {"weighting": Fixed(HALF)}])
def test_interrupted_and_continued_ends_with_the_same_weights(toll, tmp_path, monkeypatch, more):
    config = replace(QUICK, rounds=9, block=4, hidden=3, tail=Tail())
    whole, _ = fit(toll, tmp_path / "whole", config=config, **more)
    rounds, seen = story_rounds.StoryRounds._round, []

    def interrupt(self, number):
        seen.append(number)
        if len(seen) == 7:
            raise KeyboardInterrupt
        return rounds(self, number)

    monkeypatch.setattr(story_rounds.StoryRounds, "_round", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(toll, tmp_path / "stopped", config=config, **more)
    torch.manual_seed(99)
    stopped, _ = fit(toll, tmp_path / "stopped", config=config, **more)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9]
    ours, theirs = whole.head.state_dict(), stopped.head.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    curves = [load_card(tmp_path / name).figures["curve"] for name in ("whole", "stopped")]
    assert curves[0] == curves[1]
    fit(toll, tmp_path / "stopped", config=config, **more)
    assert len(seen) == 12
    with pytest.raises(InputError, match=r"config\.rounds was 9, is 10"):
        fit(toll, tmp_path / "stopped", config=replace(config, rounds=10), **more)


def test_a_story_of_the_same_name_that_counts_otherwise_is_another_run(toll, tmp_path):
    config = replace(QUICK, rounds=1, block=1, episodes=4)
    fit(toll, tmp_path / "out", Fixed(HALF), config)
    folder = write_story(tmp_path / "toll")
    for file in folder.rglob("*.txt"):
        file.write_text(
            file.read_text().replace('"violations": ["promises", "stealing"]', '"violations": []')
        )
    changed = pl.open_story(str(folder))
    assert changed.info.name == toll[0].info.name
    with pytest.raises(InputError, match=r"holds another run \(play was"):
        fit((changed, *toll[1:]), tmp_path / "out", Fixed(HALF), config)
    fit(toll, tmp_path / "out", Fixed(HALF), config)


def test_a_policy_to_start_from_and_to_stay_near(toll, tmp_path):
    _, graph, _, objectives = toll
    first, _ = fit(toll, tmp_path / "first", Fixed(SteeringWeights(score=1.0, harm_avoidance=0.0)))
    near, _ = fit(
        toll,
        tmp_path / "near",
        Fixed(HALF),
        replace(QUICK, rounds=4, kl=50.0, learning_rate=1e-3),
        initial=first,
    )
    one, other = (
        np.concatenate([np.exp(own) for own in policy.log_probs(graph.decisions)]) for policy in (first, near)
    )
    assert np.abs(one - other).max() < 0.05
    assert load_card(tmp_path / "near").figures["curve"][0]["kl"] == 0
    store = Table(graph.decisions)
    store.fingerprint = "another"
    with pytest.raises(InputError, match="'initial': has features of another model"):
        fit((toll[0], graph, store, objectives), tmp_path / "x", Fixed(HALF), initial=first)


def test_refusals(toll, tmp_path):
    for message, weighting, more in (
        ("cancels the factor", ByHypervolume(HALF), {"combine": gdpo, "config": replace(QUICK, kl=0)}),
        ("is no price", Fixed(HALF), {"combine": gdpo}),
        ("in one of them only", Fixed(SteeringWeights(score=1.0)), {}),
        ("'kl': must be above 0", Constrained(NAMES, at_least={"score": Level(1)}),
         {"config": replace(QUICK, kl=0)}),
        ("'seed'", Fixed(HALF), {"seed": -1}),
        ("'decisions': fused_sum needs two or more", Fixed(HALF),
         {"combine": fused_sum, "config": replace(QUICK, decisions=1)}),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            fit(toll, tmp_path / "out", weighting, **more)
    assert not (tmp_path / "out").exists()
    for wrong in ({"rounds": 0}, {"samples": 1}, {"kl": -1}, {"learning_rate": float("nan")}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            StoryRLConfig(**wrong)
