import json
import shutil

import numpy as np
import pytest
import torch

from pluralign.core import Decision, InputError
from pluralign.lm.backbone import load_backbone, make_tiny_backbone
from pluralign.options.checkpoint import Card, describe_source, load_card, load_policy, save_policy
from pluralign.options.drrn import DRRNPolicy
from pluralign.options.features import DecisionFeatures, FeatureStore
from pluralign.options.open import Models, load_agents, open_policy
from pluralign.options.option_policy import OptionHead, OptionPolicy, option_log_probs, pad_features
from pluralign.options.q_network import QNetwork

DECISIONS = [Decision("A door.", ("Open", "Leave", "Knock")), Decision("A cave.", ("Enter", "Shout"))]


@pytest.fixture(scope="module")
def store():
    return FeatureStore(make_tiny_backbone())


@pytest.fixture
def policy(store):
    torch.manual_seed(0)
    head = OptionHead(store.dimension, 8)
    torch.nn.init.normal_(head.outer.weight)
    head.fit_standardisation(torch.from_numpy(np.concatenate([e.features for e in store.get(DECISIONS)])))
    return OptionPolicy("kindness", head, store)


@pytest.fixture
def folder(policy, store, tmp_path):
    backbone = {"name": "tiny-random", "fingerprint": store.fingerprint, "dtype": "float32"}
    card = Card("cpl", "kindness", 3, {"steps": 5}, {"pairs": 2}, backbone, {"curve": []}, {"python": "3"})
    save_policy(policy, tmp_path / "policy", card)
    return tmp_path / "policy"


def test_log_probs_are_a_softmax_of_scores_whatever_the_batch(policy):
    together = policy.log_probs(DECISIONS)
    for decision, row in zip(DECISIONS, together, strict=True):
        assert np.exp(row).sum() == pytest.approx(1)
        np.testing.assert_allclose(policy.log_probs([decision])[0], row, atol=1e-6)
    padded, mask = pad_features(policy.source.get(DECISIONS))
    with torch.no_grad():
        table = option_log_probs(policy.head(padded), mask)
    np.testing.assert_allclose(table[1, :2], together[1], atol=1e-5)
    assert table[1, 2] < -1e30
    assert policy.log_probs([]) == []


def test_a_new_head_is_the_uniform_policy(store):
    rows = OptionPolicy("new", OptionHead(store.dimension), store).log_probs(DECISIONS)
    np.testing.assert_allclose(np.exp(rows[0]), 1 / 3)


def test_standardisation_has_mean_zero_and_deviation_one():
    features = torch.randn(50, 4) * torch.tensor([1.0, 10.0, 0.1, 0.0]) + 5
    head = OptionHead(4)
    head.fit_standardisation(features)
    standard = head.standardise(features)
    torch.testing.assert_close(standard.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        standard.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-4, rtol=0
    )


def test_a_head_needs_features_of_its_width(store):
    with pytest.raises(InputError, match="needs features of width 7"):
        OptionPolicy("x", OptionHead(7), store)


def test_saved_and_read_back(folder, policy, store):
    for source in (store, None):
        again = load_policy(folder, source)
        assert again.name == "kindness"
        for a, b in zip(again.log_probs(DECISIONS), policy.log_probs(DECISIONS), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
    card = load_card(folder)
    assert (card.method, card.objective, card.seed, card.config) == ("cpl", "kindness", 3, {"steps": 5})
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "head.safetensors"]


def _edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


DAMAGES = {
    "no card": lambda f: (f / "card.json").unlink(),
    "no weights": lambda f: (f / "head.safetensors").unlink(),
    "truncated weights": lambda f: (f / "head.safetensors").write_bytes(
        (f / "head.safetensors").read_bytes()[:-7]
    ),
    "truncated card": lambda f: (f / "card.json").write_text((f / "card.json").read_text()[:-20]),
    "another kind": lambda f: _edit(f, pluralign="reward_model"),
    "a newer version": lambda f: _edit(f, version=2),
    "a list": lambda f: (f / "card.json").write_text("[]"),
    "another head": lambda f: _edit(f, head={"dimension": 64, "hidden": 9}),
    "no head": lambda f: _edit(f, head={}),
    "no files": lambda f: _edit(f, files={}),
    "a file outside": lambda f: _edit(f, files={"head.safetensors": "", "../x": ""}),
    "a field of another type": lambda f: _edit(f, seed="three"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_line(folder, store, damage):
    DAMAGES[damage](folder)
    with pytest.raises(InputError) as caught:
        load_policy(folder, store)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_no_such_folder(tmp_path, store):
    with pytest.raises(InputError, match="no such folder"):
        load_policy(tmp_path / "nowhere", store)


def test_features_of_another_backbone_are_refused(folder):
    with pytest.raises(InputError, match="was trained on the features of 'tiny-random'"):
        load_policy(folder, FeatureStore(make_tiny_backbone(1)))
    with pytest.raises(InputError, match="float32"):
        load_policy(folder, FeatureStore(load_backbone("tiny-random", dtype=torch.bfloat16)))


def test_a_card_without_a_backbone_needs_a_store(folder):
    _edit(folder, backbone={"fingerprint": "x"})
    with pytest.raises(InputError, match="give a feature store"):
        load_policy(folder)


def test_a_save_that_was_cut_off_is_refused(folder, policy, store, tmp_path):
    with torch.no_grad():
        policy.head.outer.bias += 1
    save_policy(policy, tmp_path / "newer", load_card(folder))
    shutil.copy(tmp_path / "newer" / "head.safetensors", folder / "head.safetensors")
    with pytest.raises(InputError, match="damaged"):
        load_policy(folder, store)


def test_a_file_is_no_folder(policy, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="folder"):
        save_policy(policy, tmp_path / "taken", Card("bc"))


class _FixedSource:
    """Features that are given."""

    dimension, fingerprint = 2, "fixed"

    def __init__(self, rows):
        self._rows = np.asarray(rows, dtype=np.float32)

    def get(self, decisions):
        entry = DecisionFeatures(
            self._rows, np.zeros(len(self._rows)), np.ones(len(self._rows), dtype=np.int64)
        )
        return [entry] * len(decisions)


def test_extreme_features_stay_finite():
    head = OptionHead(2, 0)
    torch.nn.init.constant_(head.outer.weight, 1e4)
    (row,) = OptionPolicy("x", head, _FixedSource([[1e6, 0], [-1e6, 0]])).log_probs(DECISIONS[1:])
    assert row[0] == 0.0
    assert np.isfinite(row).all()


def test_a_drrn_policy_opens_by_its_folder(tmp_path):
    """Whatever plays stories is opened by `open_policy`, and its card has the form of all cards."""
    models = Models("tiny-random")
    torch.manual_seed(0)
    network = QNetwork(models.store.dimension, 4)
    torch.nn.init.normal_(network.outer.weight)
    policy = DRRNPolicy(network, models.store, temperature=0.5, card=Card("drrn", seed=3))
    policy.save(tmp_path / "drrn")
    decisions = [Decision("Where to?", ("Left.", "Right.", "On and on."))]
    opened = open_policy(str(tmp_path / "drrn"), models)
    np.testing.assert_array_equal(opened.log_probs(decisions)[0], policy.log_probs(decisions)[0])
    card = load_card(tmp_path / "drrn")
    assert (card.method, card.seed, card.backbone["name"]) == ("drrn", 3, "tiny-random")


@pytest.mark.parametrize("models", [Models("tiny-random"), Models("tiny-random", dtype="bfloat16"), Models()])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_policy_opens_in_the_precision_of_its_training(dtype, models, tmp_path):
    store = Models("tiny-random", dtype=dtype).store
    card = Card("cpl", backbone=describe_source(store))
    save_policy(OptionPolicy("kindness", OptionHead(store.dimension), store), tmp_path / "policy", card)
    opened = open_policy(str(tmp_path / "policy"), models)
    assert opened.source.fingerprint == store.fingerprint
    own = "bfloat16" if models.dtype == "bfloat16" else "float32"
    assert models.of("tiny-random").language_model.dtype == own


def test_policies_on_another_model_share_it(folder, monkeypatch):
    loaded: list[str] = []

    def load(model, **settings):
        loaded.append(model)
        return load_backbone(model, **settings)

    monkeypatch.setattr("pluralign.lm.backbone.load_backbone", load)
    agents = load_agents(
        {"kindness": folder, "score": shutil.copytree(folder, f"{folder}2"), "care": "tiny-random"}, Models()
    )
    for agent in agents.values():
        assert len(agent.log_probs(DECISIONS)) == 2
    assert loaded == ["tiny-random"]
