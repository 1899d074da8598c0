"""AVRIL finds a planted reward in what a Boltzmann-rational demonstrator did."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr, ttest_1samp, ttest_rel

from pluralign.core import Decision, InputError, Step, Trajectory
from pluralign.core.locks import only_one_in
from pluralign.folders.card import load_card
from pluralign.learn.options.avril import (
    AVRILConfig,
    Transitions,
    VariationalRewards,
    encode_transitions,
    fit_avril,
)
from pluralign.learn.options.tables import DecisionIndex
from pluralign.options.option_reward import OptionRewardHead, load_option_reward

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

HALF_LOG_TWO_PI = 0.9189385
NATS = 4.0
"""How many nats the planted rewards of the chain span."""


def _rational(chain):
    """Planted rewards in nats, and the policy softmax(Q) of their own Q, Q = r + E Q(s', .)."""
    rewards = NATS * (chain.rewards - 0.5)
    policy, values = np.zeros_like(rewards), np.zeros(toy.ROOMS)
    for t in reversed(range(toy.STEPS)):
        q = rewards[t] + values[None, :]
        policy[t] = np.exp(q) / np.exp(q).sum(1, keepdims=True)
        values = (policy[t] * q).sum(1)
    return rewards, policy


def _all_decisions(chain):
    return [decision for row in chain.decisions for decision in row]


def _means(posterior, chain):
    return np.array([row.mean for row in posterior.rewards(_all_decisions(chain))])


def _trajectories(chain, count, seed=0):
    rng = np.random.default_rng(seed)
    _, policy = _rational(chain)
    return [chain.roll(rng, str(i), policy) for i in range(count)]


def _within(means, rewards):
    return np.mean([kendalltau(m, r).statistic for m, r in zip(means, rewards, strict=True)])


@pytest.fixture(scope="module")
def recovered(tmp_path_factory):
    """For each of eight chains its planted rewards and the learned means, shape (decisions, options)."""
    pairs = []
    for seed in range(8):
        chain = toy.Chain(seed)
        rewards, _ = _rational(chain)
        posterior = fit_avril(
            _trajectories(chain, 400, seed),
            store=toy.OneHot(chain),
            out=tmp_path_factory.mktemp("avril"),
            config=AVRILConfig(steps=160, hidden=32, learning_rate=6e-3),
            seed=seed,
        )
        # One starts in room 0: the first step's other rooms are never seen.
        seen = np.r_[0, 3 : toy.STEPS * toy.ROOMS]
        pairs.append((rewards.reshape(-1, toy.ROOMS)[seen], _means(posterior, chain)[seen]))
    return pairs


def test_the_planted_reward_is_ranked_above_chance(recovered):
    pooled = [spearmanr(means.ravel(), rewards.ravel()).statistic for rewards, means in recovered]
    within = [_within(means, rewards) for rewards, means in recovered]
    assert ttest_1samp(pooled, 0.0, alternative="greater").pvalue < 0.001, pooled
    assert ttest_1samp(within, 0.0, alternative="greater").pvalue < 0.001, within
    assert np.mean(pooled) > 0.4


def test_it_is_this_reward_and_not_any(recovered):
    """Controls: the rewards of another chain of the same shape, and options exchanged within decisions."""
    own = [_within(means, rewards) for rewards, means in recovered]
    others = [recovered[(i + 1) % len(recovered)][0] for i in range(len(recovered))]
    rng = np.random.default_rng(0)
    exchanged = [rng.permuted(rewards, axis=1) for rewards, _ in recovered]
    for control in (others, exchanged):
        chance = [_within(means, wrong) for (_, means), wrong in zip(recovered, control, strict=True)]
        assert ttest_rel(own, chance, alternative="greater").pvalue < 0.01, (own, chance)


def test_the_demonstrators_policy_is_recovered(tmp_path):
    chain = toy.Chain(1)
    _, policy = _rational(chain)
    posterior = fit_avril(
        _trajectories(chain, 1500), store=toy.OneHot(chain), out=tmp_path,
        config=AVRILConfig(steps=500, hidden=32, learning_rate=3e-3, td_weight=0.0, kl_weight=0.1),
    )  # fmt: skip
    table = chain.table(posterior)
    assert np.abs(policy[1:] - 1 / 3).mean() > 0.15, "the test can fail"
    assert np.abs(table[1:] - policy[1:]).mean() < 0.05
    assert np.abs(_means(posterior, chain)).max() < 0.05, "without temporal differences there is the prior"


def _one_step_episodes(share, folder):
    decision = Decision("An end.", ("Left", "Right"))
    trajectories = [
        Trajectory(str(i), "x", "x", 0, (Step(decision, int(i >= share)),), True) for i in range(100)
    ]
    config = AVRILConfig(steps=600, hidden=16, learning_rate=1e-2, batch_size=100)
    posterior = fit_avril(trajectories, store=_OneHotOptions(), out=folder, config=config)
    return posterior.q_values([decision])[0], posterior.rewards([decision])[0]


def test_golden_optimum_of_one_step_episodes(tmp_path):
    """Left is taken 80 times of 100, and the episode ends: delta is Q, and mu = Q while |Q| < 1.

    The bound is then -.8 q1 -.2 q2 + log(e^q1 + e^q2) + (.8 q1^2 + .2 q2^2) / 2; its derivatives are zero at
    q1 = (.8 - p) / .8 and q2 = (p - .8) / .2 with p = 1 / (1 + exp(q2 - q1)): p = 0.6796.
    """
    q, reward = _one_step_episodes(80, tmp_path)
    np.testing.assert_allclose(q, [0.1505, -0.6020], atol=0.02)
    np.testing.assert_allclose(reward.mean, q, atol=0.02)


def test_sigma_squared_is_what_the_mean_leaves_over(tmp_path):
    """lambda = kl = 1: mu^2/2 + sigma^2/2 + (delta - mu)^2 / (2 sigma^2) is least at sigma^2 = |delta - mu|
    with mu within -1..1. Right is taken once of 100 times, so Q(Right) is far below -1."""
    q, reward = _one_step_episodes(99, tmp_path)
    assert q[1] < -2
    assert -1.1 < reward.mean[1] < -0.3
    assert reward.sigma[1] ** 2 == pytest.approx(reward.mean[1] - q[1], rel=0.1)


class _OneHotOptions:
    """One feature for each of two options."""

    dimension, fingerprint = 2, "two"

    def get(self, decisions):
        entry = toy.DecisionFeatures(np.eye(2, dtype=np.float32), np.zeros(2), np.ones(2, dtype=np.int64))
        return [entry] * len(decisions)


def _transitions(chain, **changes):
    trajectory = dataclasses.replace(chain.roll(np.random.default_rng(0), "a"), **changes)
    index = DecisionIndex()
    return encode_transitions([trajectory, trajectory], index), index.decisions


def test_steps_are_followed_by_the_next_of_their_own_episode():
    chain = toy.Chain(0)
    table, _ = _transitions(chain)
    n = toy.STEPS
    assert table.next_states[: n - 1].tolist() == table.states[1:n].tolist()
    assert table.next_actions[: n - 1].tolist() == table.actions[1:n].tolist()
    assert table.continues.tolist() == [*[True] * (n - 1), False] * 2
    assert table.known.all(), "the episode's end is real: nothing follows, and that is known"
    cut_off, _ = _transitions(chain, terminated=False, truncated=True)
    assert cut_off.known.tolist() == cut_off.continues.tolist()


def _loss(config, *, q=0.0, **changes):
    chain = toy.Chain(0)
    table, decisions = _transitions(chain, **changes)
    head = OptionRewardHead(toy.OneHot(chain).dimension, 4)
    torch.nn.init.constant_(head.q_network[-1].bias, q)
    module = VariationalRewards(head, decisions, toy.OneHot(chain), table, config)
    return module(torch.arange(len(table)))["loss"].item()


def test_golden_loss_at_the_beginning():
    """Q = 0, mu = 0, sigma = 1: log 3 for the choice, nothing for the prior, log sqrt(2 pi) for delta = 0."""
    assert _loss(AVRILConfig()) == pytest.approx(math.log(3) + HALF_LOG_TWO_PI, abs=1e-5)
    cut_off = _loss(AVRILConfig(), terminated=False, truncated=True)
    assert cut_off == pytest.approx(math.log(3) + HALF_LOG_TWO_PI * 5 / 6, abs=1e-5)


def test_golden_temporal_differences():
    """Q = 2 everywhere, gamma 1/2: delta is 1 at five steps and 2 at the end; (5 * 1/2 + 2) / 6 = 3/4."""
    config = AVRILConfig(gamma=0.5)
    expected = math.log(3) + HALF_LOG_TWO_PI + 0.75
    assert _loss(config, q=2.0) == pytest.approx(expected, abs=1e-5)
    assert _loss(dataclasses.replace(config, td_weight=0.0), q=2.0) == pytest.approx(math.log(3), abs=1e-5)


def test_beta_sharpens_the_demonstrators_policy(tmp_path):
    chain = toy.Chain(0)
    config = AVRILConfig(steps=30, hidden=8, learning_rate=1e-2, beta=3.0)
    posterior = fit_avril(_trajectories(chain, 20), store=toy.OneHot(chain), out=tmp_path, config=config)
    decision = chain.decisions[0][0]
    (q,), (row,) = posterior.q_values([decision]), posterior.log_probs([decision])
    assert np.ptp(q) > 0.01
    np.testing.assert_allclose(row - row[0], 3.0 * (q - q[0]), atol=1e-9)


def test_the_card_and_the_folder(tmp_path):
    chain = toy.Chain(0)
    trajectories = _trajectories(chain, 4)
    trajectories[0] = dataclasses.replace(trajectories[0], terminated=False, truncated=True)
    config = AVRILConfig(steps=5, hidden=4, batch_size=8)
    posterior = fit_avril(
        trajectories, store=toy.OneHot(chain), out=tmp_path, config=config, seed=3,
        provenance={"file": "t.jsonl"},
    )  # fmt: skip
    card = load_card(tmp_path)
    assert (card.method, card.seed, card.config["gamma"]) == ("avril", 3, 1.0)
    assert card.data["file"] == "t.jsonl"
    assert (card.data["trajectories"], card.data["steps"], card.data["without_end"]) == (4, 24, 1)
    assert len(card.figures["curve"]) == 5
    again = load_option_reward(tmp_path, toy.OneHot(chain))
    np.testing.assert_array_equal(_means(again, chain), _means(posterior, chain))


def test_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, monkeypatch):
    chain = toy.Chain(0)
    config = AVRILConfig(steps=30, hidden=4, batch_size=16)

    def fit(folder):
        torch.manual_seed(len(folder))
        store = toy.OneHot(chain)
        fit_avril(_trajectories(chain, 20), store=store, out=tmp_path / folder, config=config, seed=1)
        return (tmp_path / folder / "head.safetensors").read_bytes()

    whole = fit("whole")
    forwards = 0
    original = VariationalRewards.forward

    def cut_off_at_twenty(self, rows):
        nonlocal forwards
        forwards += 1
        if forwards == 20:
            raise KeyboardInterrupt
        return original(self, rows)

    monkeypatch.setattr(VariationalRewards, "forward", cut_off_at_twenty)
    with pytest.raises(KeyboardInterrupt):
        fit("cut")
    assert fit("cut") == whole
    assert 20 < forwards < 20 + 30, "training went on where it stopped"
    done = forwards
    assert fit("cut") == whole
    assert forwards == done, "a finished run is not trained again"


def test_another_run_in_the_folder_is_refused(tmp_path):
    chain, config = toy.Chain(0), AVRILConfig(steps=2, hidden=4)
    fit_avril(_trajectories(chain, 2), store=toy.OneHot(chain), out=tmp_path, config=config)
    with pytest.raises(InputError, match=r"config\.gamma was 1\.0, is 0\.9"):
        fit_avril(
            _trajectories(chain, 2), store=toy.OneHot(chain), out=tmp_path,
            config=dataclasses.replace(config, gamma=0.9),
        )  # fmt: skip
    cut_off = [dataclasses.replace(t, terminated=False) for t in _trajectories(chain, 2)]
    with pytest.raises(InputError, match="data was"):
        fit_avril(cut_off, store=toy.OneHot(chain), out=tmp_path, config=config)


def test_two_at_a_time_in_one_folder_are_refused(tmp_path):
    given = {"store": toy.OneHot(toy.Chain(0)), "config": AVRILConfig(steps=2, hidden=4)}
    with only_one_in(tmp_path / "checkpoints" / "avril"), pytest.raises(InputError, match="another process"):
        fit_avril(_trajectories(toy.Chain(0), 2), out=tmp_path, **given)
    fit_avril(_trajectories(toy.Chain(0), 2), out=tmp_path, **given)


def test_nothing_to_learn_from_is_refused(tmp_path):
    with pytest.raises(InputError, match="no trajectory"):
        fit_avril([], store=toy.OneHot(toy.Chain()), out=tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("hidden", 0), ("gamma", 1.5), ("gamma", -0.1), ("beta", 0.0), ("td_weight", -1.0)],
)
def test_impossible_settings_are_refused(field, value):
    with pytest.raises(InputError, match=f"'{field}'"):
        AVRILConfig(**{field: value})


def test_transitions_have_a_length():
    table, _ = _transitions(toy.Chain(0))
    assert isinstance(table, Transitions)
    assert len(table) == 2 * toy.STEPS
