import json
import time
from dataclasses import replace

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, OneHotFeatures, TowerGame

from pluralign.collect.drrn_training import train_drrn
from pluralign.collect.intrinsic import Intrinsic, IntrinsicRewards
from pluralign.collect.roll_out import roll_out
from pluralign.core import Decision, InputError, UniformPolicy
from pluralign.options.drrn import DRRNConfig, DRRNPolicy

SHORT = DRRNConfig(steps=6000, warm_up=500)


@pytest.fixture(scope="module")
def trained():
    features = OneHotFeatures()
    started = time.process_time()
    policy = train_drrn(TowerGame, features, config=SHORT, seed=0, reward=SCORE.reward)
    return policy, features, time.process_time() - started


def mean_score(policy, objective=SCORE, game=TowerGame):
    played = roll_out(game, policy, episodes=300, seed=11, objectives=[objective])
    return np.mean([t.returns()[objective.name] for t in played])


def test_it_learns_to_search_for_the_key_and_open_the_door(trained):
    policy, _, seconds = trained
    # The best play: search (0), steal three times (9), open with the key (20).
    assert mean_score(UniformPolicy()) < 10
    assert mean_score(policy) > 0.9 * 29
    assert seconds < 60


def test_it_learns_another_reward():
    policy = train_drrn(TowerGame, OneHotFeatures(), config=SHORT, seed=0, reward=HONESTY.reward)
    assert mean_score(UniformPolicy(), HONESTY) < -0.7
    assert mean_score(policy, HONESTY) > -0.05


def test_q_values_approach_the_discounted_optimum(trained):
    policy, _, _ = trained
    door = Decision("Floor 4, with a {key}, rested 0 times. A door.", ("Open it.", "Knock."))
    [q] = policy.q_values([door])
    scale = policy.card.figures["reward_scale"]
    assert q[0] * scale == pytest.approx(20.0, abs=2.0)


def test_features_are_asked_once_for_each_decision(trained):
    policy, _, _ = trained
    features = OneHotFeatures()
    again = train_drrn(TowerGame, features, config=SHORT, seed=0, reward=SCORE.reward)
    assert features.asked == again.card.figures["decisions"]
    # The same seed gives the same run.
    assert again.card.figures["curve"] == policy.card.figures["curve"]


def test_curve_rises(trained):
    curve = trained[0].card.figures["curve"]
    assert curve[-1][0] >= SHORT.steps
    assert curve[-1][1] > curve[0][1] + 5


def test_log_probs_are_a_softmax_whatever_the_batch(trained):
    policy, _, _ = trained
    decisions = [Decision(f"Floor {i}, with nothing, rested 0 times.", ("Climb.", "Rest.")) for i in range(3)]
    together = policy.log_probs(decisions)
    for decision, row in zip(decisions, together, strict=True):
        assert np.exp(row).sum() == pytest.approx(1.0, abs=1e-12)
        np.testing.assert_allclose(policy.log_probs([decision])[0], row, atol=1e-10)
        [q] = policy.q_values([decision])
        np.testing.assert_allclose(row[0] - row[1], (q[0] - q[1]) / policy.temperature, atol=1e-9)
    assert policy.log_probs([]) == []


def test_saved_and_loaded_it_is_the_same(trained, tmp_path):
    policy, features, _ = trained
    policy.save(tmp_path / "drrn")
    loaded = DRRNPolicy.load(tmp_path / "drrn", features)
    decision = Decision("Floor 0, with nothing, rested 0 times.", ("Climb.", "Rest."))
    np.testing.assert_array_equal(loaded.log_probs([decision])[0], policy.log_probs([decision])[0])
    assert loaded.name == "drrn"
    assert loaded.card.config["steps"] == 6000
    assert sorted(p.name for p in (tmp_path / "drrn").iterdir()) == ["card.json", "q_network.safetensors"]


def test_other_features_and_broken_files_are_refused(trained, tmp_path):
    policy, features, _ = trained
    folder = tmp_path / "drrn"
    policy.save(folder)
    with pytest.raises(InputError, match=r"was trained on the features of"):
        DRRNPolicy.load(folder, OneHotFeatures(64))
    weights = folder / "q_network.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match=r"q_network\.safetensors: is damaged"):
        DRRNPolicy.load(folder, features)
    weights.unlink()
    with pytest.raises(InputError, match=r"its file q_network\.safetensors is missing"):
        DRRNPolicy.load(folder, features)
    (folder / "card.json").write_text(json.dumps({"method": "cpl"}))
    with pytest.raises(InputError, match="expected a card of pluralign"):
        DRRNPolicy.load(folder, features)
    with pytest.raises(InputError, match="no such folder"):
        DRRNPolicy.load(tmp_path / "nowhere", features)


@pytest.mark.parametrize(
    "changed",
    [
        {"steps": 0},
        {"temperature": 0.0},
        {"gamma": 1.5},
        {"learning_rate": float("nan")},
        {"warm_up": 500, "steps": 500},
    ],
)
def test_bad_configs(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        DRRNConfig(**changed)


def test_bad_seed():
    with pytest.raises(InputError, match="seed"):
        train_drrn(TowerGame, OneHotFeatures(), seed=-1, reward=SCORE.reward)


def doors(decisions):
    """What a judge who knows the tower says: search for the key, climb, open the door."""
    known = {"Search and climb.": 1.0, "Climb.": 0.5, "Open it.": 1.0, "Rest.": -1.0, "Knock.": -1.0}
    return [np.array([known.get(option, 0.0) for option in one.options]) for one in decisions]


def label(value):
    """A tower whose steps count what `doors` says of the option taken."""

    class Labelled(TowerGame):
        def choose(self, action):
            worth = value([self.decision])[0][action]
            return {**super().choose(action), "judged.score": worth}

    return Labelled


def test_rewards_are_those_of_the_judge_step_for_step():
    """A judge who is asked about every new decision at once, with beta 0 and no other reward, is a label."""
    short = replace(SHORT, steps=1500)
    game = label(doors)
    labelled = train_drrn(
        game, OneHotFeatures(), config=short, seed=3, reward=lambda c: c.get("judged.score", 0)
    )
    scale = labelled.card.figures["reward_scale"]
    judged = Intrinsic(doors, weight=1 / scale, beta=0, every=1)
    found = train_drrn(
        game, OneHotFeatures(), config=short, seed=3, reward=lambda counts: 0.0, intrinsic=judged
    )
    assert found.card.figures["reward_scale"] == 1
    assert all(value == 0 for _, value in found.card.figures["curve"])
    ours, theirs = found.card.figures["intrinsic"]["curve"], labelled.card.figures["curve"]
    assert [steps for steps, _ in ours] == [steps for steps, _ in theirs]
    np.testing.assert_allclose([scale * value for _, value in ours], [value for _, value in theirs])
    for decision in (
        Decision(
            "Floor 0, with nothing, rested 0 times.",
            ("Climb.", "Steal $5 and climb.", "Rest.", "Search and climb."),
        ),
    ):
        np.testing.assert_allclose(found.q_values([decision])[0], labelled.q_values([decision])[0], atol=1e-6)


class Maze(TowerGame):
    """Ten rooms with three doors, of which one leads on and two out; a point for whoever passes all."""

    def reset(self, seed=0):
        self.room = 0

    @property
    def decision(self):
        doors = ("Red.", "Green.", "Blue.")
        return None if self.room is None else Decision(f"Room {self.room}.", doors)

    def choose(self, action):
        passed = action == self.room % 3
        done = passed and self.room == 9
        self.room = self.room + 1 if passed and not done else None
        return {"points": 1.0} if done else {}


def test_a_judge_who_knows_the_way_finds_a_goal_that_the_score_does_not_lead_to():
    few = replace(SHORT, steps=1500, warm_up=300)

    def found(intrinsic):
        policy = train_drrn(
            Maze, OneHotFeatures(), config=few, seed=0, reward=SCORE.reward, intrinsic=intrinsic
        )
        return mean_score(policy, game=Maze)

    def way(decisions):
        rooms = [int(one.prompt.removeprefix("Room ").removesuffix(".")) for one in decisions]
        return [np.where(np.arange(3) == room % 3, 1.0, -1.0) for room in rooms]

    assert found(Intrinsic(way, weight=0.3, beta=0, every=4)) > 0.8
    assert found(None) == 0
    # A judge who is wrong leads nowhere; what counts is the game's own score.
    wrong = Intrinsic(lambda decisions: [-own for own in way(decisions)], weight=0.3, beta=0)
    assert found(wrong) == 0


def test_an_option_earns_nothing_until_it_is_judged_and_less_with_every_visit():
    asked = []

    def values(decisions):
        asked.append([one.prompt for one in decisions])
        return [None if one.prompt == "c" else np.array([1.0, -0.5]) for one in decisions]

    run = IntrinsicRewards(Intrinsic(values, weight=0.2, beta=2, every=2))
    one, two, three = (Decision(name, ("x", "y")) for name in "abc")
    at = np.array
    # The first round asks; numbers need not come in order.
    run.meet([4, 0], [one, two])
    assert asked == [["a", "b"]]
    assert run.visit(at([4, 4, 0]), at([0, 0, 1])).tolist() == [1, 2, 1]
    np.testing.assert_allclose(run.of(at([4, 4, 0]), at([0, 0, 1]), at([1, 2, 1])), [0.2, 0.05, -0.1])
    wide = Decision("d", ("x", "y", "z"))
    run.meet([1, 4, 2], [three, one, wide])
    assert len(asked) == 1
    assert run.of(at([2]), at([2]), at([1])).tolist() == [0]
    with pytest.raises(InputError, match="'values': expected 3 numbers from -1 to 1 for 'd'"):
        run.meet([4], [one])
    assert (run.judged, run.unjudged) == (2, 1)
    for wrong in ([2.0, 0.0], [float("nan"), 0.0], [0.5]):
        again = IntrinsicRewards(Intrinsic(lambda decisions, own=wrong: [np.array(own)], every=1))
        with pytest.raises(InputError, match="expected 2 numbers"):
            again.meet([0], [one])
    for wrong in ({"weight": -1.0}, {"beta": -0.1}, {"every": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            Intrinsic(values, **wrong)


def test_the_card_says_what_was_added_and_the_policy_is_another():
    intrinsic = Intrinsic(doors, weight=0.5, beta=1, every=3, name="doors")
    policy = train_drrn(TowerGame, OneHotFeatures(), config=replace(SHORT, steps=1500), seed=0,
                        reward=SCORE.reward, intrinsic=intrinsic)  # fmt: skip
    assert policy.card.config["intrinsic"] == {"name": "doors", "weight": 0.5, "beta": 1, "every": 3}
    figures = policy.card.figures["intrinsic"]
    assert figures["judged"] == policy.card.figures["decisions"]
    assert len(figures["curve"]) == len(policy.card.figures["curve"])
    # Options that were taken often earn little.
    assert abs(figures["curve"][-1][1]) < 0.1
    again = train_drrn(TowerGame, OneHotFeatures(), config=replace(SHORT, steps=1500), seed=0,
                       reward=SCORE.reward, intrinsic=intrinsic)  # fmt: skip
    assert again.card.figures["curve"] == policy.card.figures["curve"]
    assert again.card.figures["intrinsic"] == figures
