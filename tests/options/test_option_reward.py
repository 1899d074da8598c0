import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pluralign.core import Decision, InputError
from pluralign.folders.card import Card, load_card
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.options.features import FeatureStore
from pluralign.options.option_reward import (
    MIN_SIGMA,
    OptionRewardHead,
    OptionRewardPosterior,
    load_option_reward,
    save_option_reward,
)

DECISIONS = [Decision("A door.", ("Open", "Leave", "Knock")), Decision("A cave.", ("Enter", "Shout"))]


@pytest.fixture(scope="module")
def store():
    return FeatureStore(make_tiny_backbone())


@pytest.fixture
def posterior(store):
    torch.manual_seed(0)
    head = OptionRewardHead(store.dimension, 8)
    for network in (head.q_network, head.reward_network):
        torch.nn.init.normal_(network[-1].weight)
    head.fit_standardisation(torch.from_numpy(np.concatenate([e.features for e in store.get(DECISIONS)])))
    return OptionRewardPosterior("wants", head, store, beta=2.0)


@pytest.fixture
def folder(posterior, store, tmp_path):
    backbone = {"name": "tiny-random", "fingerprint": store.fingerprint, "dtype": "float32"}
    save_option_reward(posterior, tmp_path / "posterior", Card("avril", backbone=backbone))
    return tmp_path / "posterior"


def test_training_begins_at_the_prior_and_the_uniform_policy(store):
    posterior = OptionRewardPosterior("new", OptionRewardHead(store.dimension), store)
    reward = posterior.rewards(DECISIONS)[0]
    np.testing.assert_array_equal(reward.mean, np.zeros(3))
    np.testing.assert_allclose(reward.sigma, np.ones(3), atol=1e-6)
    np.testing.assert_allclose(np.exp(posterior.log_probs(DECISIONS)[0]), 1 / 3)


def test_each_decision_by_itself_is_as_in_company(posterior):
    rewards, rows = posterior.rewards(DECISIONS), posterior.log_probs(DECISIONS)
    for decision, reward, row in zip(DECISIONS, rewards, rows, strict=True):
        assert reward.mean.shape == reward.sigma.shape == row.shape == (len(decision.options),)
        assert np.exp(row).sum() == pytest.approx(1)
        (alone,) = posterior.rewards([decision])
        np.testing.assert_allclose(alone.mean, reward.mean, atol=1e-5)
        np.testing.assert_allclose(alone.sigma, reward.sigma, atol=1e-5)
    assert posterior.rewards([]) == posterior.log_probs([]) == posterior.q_values([]) == []


def test_the_policy_is_a_softmax_of_beta_q(posterior):
    (q,), (row,) = posterior.q_values(DECISIONS[:1]), posterior.log_probs(DECISIONS[:1])
    np.testing.assert_allclose(row, 2 * q - np.log(np.exp(2 * q).sum()), atol=1e-9)
    assert np.ptp(q) > 0


@given(st.floats(-1e4, 1e4, width=32))
def test_sigma_is_positive_and_finite_at_any_output(raw):
    head = OptionRewardHead(1, 1)
    with torch.no_grad():
        head.reward_network[-1].bias[1] = raw
        _, sigma = head.rewards(torch.zeros(1, 1))
    assert 0.999 * MIN_SIGMA < float(sigma) < np.inf


def test_a_head_needs_features_of_its_width_and_a_temperature(store):
    with pytest.raises(InputError, match="needs features of width 7"):
        OptionRewardPosterior("x", OptionRewardHead(7), store)
    with pytest.raises(InputError, match="'beta': must be above 0"):
        OptionRewardPosterior("x", OptionRewardHead(store.dimension), store, beta=0.0)


def test_saved_and_read_back(folder, posterior, store):
    for source in (store, None):
        again = load_option_reward(folder, source)
        assert (again.name, again.beta) == ("wants", 2.0)
        for a, b in zip(again.rewards(DECISIONS), posterior.rewards(DECISIONS), strict=True):
            np.testing.assert_allclose(a.mean, b.mean, atol=1e-6)
            np.testing.assert_allclose(a.sigma, b.sigma, atol=1e-6)
    assert load_card(folder, "option_reward").method == "avril"
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "head.safetensors"]


def _edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def _flip(folder):
    data = bytearray((folder / "head.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "head.safetensors").write_bytes(bytes(data))


DAMAGES = {
    "no card": lambda f: (f / "card.json").unlink(),
    "no weights": lambda f: (f / "head.safetensors").unlink(),
    "one bit": _flip,
    "a policy": lambda f: _edit(f, pluralign="option_policy"),
    "another head": lambda f: _edit(f, head={"dimension": 64, "hidden": 9}),
    "no head": lambda f: _edit(f, head={}),
    "no temperature": lambda f: _edit(f, beta=None),
    "an impossible temperature": lambda f: _edit(f, beta=-1.0),
    "no files": lambda f: _edit(f, files={}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line(folder, store, damage):
    DAMAGES[damage](folder)
    with pytest.raises(InputError) as caught:
        load_option_reward(folder, store)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value) or "'beta'" in str(caught.value)


def test_features_of_another_backbone_are_refused(folder):
    with pytest.raises(InputError, match="was trained on the features of 'tiny-random'"):
        load_option_reward(folder, FeatureStore(make_tiny_backbone(1)))


def test_a_card_without_a_backbone_needs_a_store(folder):
    _edit(folder, backbone={"fingerprint": "x"})
    with pytest.raises(InputError, match="give a feature store"):
        load_option_reward(folder)
