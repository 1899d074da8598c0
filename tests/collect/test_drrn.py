import json
import time

import numpy as np
import pytest
from collect_fakes import HONESTY, SCORE, OneHotFeatures, TowerGame

from pluralign.collect.drrn_training import train_drrn
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


def mean_score(policy, objective=SCORE):
    played = roll_out(TowerGame, policy, episodes=300, seed=11, objectives=[objective])
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
    "changed", [{"steps": 0}, {"temperature": 0.0}, {"gamma": 1.5}, {"learning_rate": float("nan")}]
)
def test_bad_configs(changed):
    with pytest.raises(InputError, match=next(iter(changed))):
        DRRNConfig(**changed)


def test_bad_seed():
    with pytest.raises(InputError, match="seed"):
        train_drrn(TowerGame, OneHotFeatures(), seed=-1, reward=SCORE.reward)
