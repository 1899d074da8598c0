"""Learners recover what was planted, and write down where it comes from."""

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from pluralign.core import InputError, PreferencePair
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.options.checkpoint import load_card, load_policy
from pluralign.options.features import FeatureStore
from pluralign.options.option_policy import OptionPolicy

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

SMALL = {"steps": 20, "batch_size": 8, "hidden": 4}


@pytest.fixture(scope="module")
def chain():
    return toy.Chain(1)


def _greedy(table):
    return (table == table.max(-1, keepdims=True)).astype(float)


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_cpl_recovers_the_planted_reward(chain, tmp_path, error):
    """From random trajectories and preferences on returns (one in ten wrong): 95 % of the optimum."""
    config = CPLConfig(steps=500, batch_size=64, hidden=32, kl=True, conservative_bias=1.0)
    pairs = chain.pairs(1000, 0, error=error)
    policy = fit_cpl(pairs, store=toy.OneHot(chain), out=tmp_path / "policy", config=config)
    table, optimum = chain.table(policy), chain.value(None)
    uniform = np.full_like(table, 1 / 3)
    assert chain.value(uniform) < 0.7 * optimum, "the test can fail"
    assert chain.value(_greedy(table)) >= 0.95 * optimum
    assert chain.value(table) >= 0.93 * optimum


def test_cpl_without_signal_learns_nothing(chain, tmp_path):
    """Preferences by the toss of a coin: what is learned is not better than chance by more than noise."""
    config = CPLConfig(steps=300, batch_size=64, hidden=32, kl=True, conservative_bias=1.0)
    pairs = chain.pairs(1000, 0, error=0.5)
    policy = fit_cpl(pairs, store=toy.OneHot(chain), out=tmp_path / "policy", config=config)
    assert chain.value(chain.table(policy)) < 0.85 * chain.value(None)


def test_bc_recovers_the_behaviours_frequencies(chain, tmp_path):
    rng = np.random.default_rng(0)
    behaviour = rng.dirichlet(np.ones(3) * 2, (toy.STEPS, toy.ROOMS))
    trajectories = [chain.roll(rng, str(i), behaviour) for i in range(1500)]
    counts = np.zeros_like(behaviour)
    for trajectory in trajectories:
        for t, step in enumerate(trajectory.steps):
            counts[t, chain.decisions[t].index(step.decision), step.action] += 1
    config = BCConfig(steps=600, hidden=32, learning_rate=3e-3)
    policy = fit_bc(trajectories, store=toy.OneHot(chain), out=tmp_path / "bc", config=config)
    visited = counts.sum(-1) > 100
    frequencies = counts[visited] / counts[visited].sum(-1, keepdims=True)
    np.testing.assert_allclose(chain.table(policy)[visited], frequencies, atol=0.04)


def test_the_card_says_where_the_policy_comes_from(chain, tmp_path):
    pairs = chain.pairs(20, 0)
    first = pairs[0]
    ties = [PreferencePair(first.chosen, first.rejected, "treasure", weight=0.5)]
    held_out = [
        PreferencePair(p.chosen, p.rejected, "treasure", split="validation") for p in chain.pairs(5, 1)
    ]
    test = [PreferencePair(p.chosen, p.rejected, "treasure", split="test") for p in chain.pairs(4, 2)]
    store, out = toy.OneHot(chain), tmp_path / "policy"
    config = CPLConfig(**SMALL)
    policy = fit_cpl(
        [*pairs, *ties, *held_out, *test], store=store, out=out, config=config, seed=7,
        provenance={"file": "p.jsonl"},
    )  # fmt: skip
    card = load_card(out)
    assert (card.method, card.objective, card.seed) == ("cpl", "treasure", 7)
    assert card.config["steps"] == 20
    assert card.data["file"] == "p.jsonl"
    assert (card.data["pairs"], card.data["ties"], card.data["validation_pairs"]) == (21, 1, 5)
    assert card.backbone["fingerprint"] == "one-hot"
    assert [point["step"] for point in card.figures["warm_up_curve"]] == list(range(1, 9))
    assert [point["step"] for point in card.figures["curve"]] == list(range(1, 13))
    assert 0 <= card.figures["validation_accuracy"] <= 1
    assert policy.name == "treasure"
    again = load_policy(out, store)
    decisions = chain.decisions[0]
    for a, b in zip(again.log_probs(decisions), policy.log_probs(decisions), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_seed_decides_everything(chain, tmp_path):
    pairs, store = chain.pairs(20, 0), toy.OneHot(chain)

    def weights(name, seed):
        torch.manual_seed(len(name))
        fit_cpl(pairs, store=store, out=tmp_path / name, config=CPLConfig(**SMALL), seed=seed)
        return (tmp_path / name / "head.safetensors").read_bytes()

    assert weights("a", 0) == weights("another", 0) != weights("b", 1)


def test_the_callers_random_numbers_are_neither_seeded_nor_used(chain, tmp_path):
    def draw():
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002

    def seed(number):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)

    pairs, names = chain.pairs(20, 0), iter("abc")

    def fit():
        out = tmp_path / next(names)
        fit_cpl(pairs, store=toy.OneHot(chain), out=out, config=CPLConfig(**SMALL))
        return (out / "head.safetensors").read_bytes()

    seed(5)
    expected = draw()
    seed(5)
    first = fit()
    assert draw() == expected
    fit()
    assert not set(draw()) & set(expected)
    seed(7)
    assert fit() == first


def test_gradients_that_are_switched_off_are_on_in_training(chain, tmp_path):
    pairs = chain.pairs(20, 0)
    found = []
    for name, on in (("on", True), ("off", False)):
        with torch.set_grad_enabled(on):
            fit_cpl(pairs, store=toy.OneHot(chain), out=tmp_path / name, config=CPLConfig(**SMALL))
            assert torch.is_grad_enabled() == on
        found.append((tmp_path / name / "head.safetensors").read_bytes())
    assert found[0] == found[1]


def test_only_ties_move_nothing_away_from_the_reference(chain, tmp_path):
    pairs = [PreferencePair(p.chosen, p.rejected, "treasure", weight=0.5) for p in chain.pairs(30, 0)]
    config = CPLConfig(**SMALL, bc_share=0.0, kl=True, conservative_bias=1.0)
    policy = fit_cpl(pairs, store=toy.OneHot(chain), out=tmp_path / "policy", config=config)
    np.testing.assert_allclose(chain.table(policy), 1 / 3, atol=1e-3)
    assert load_card(tmp_path / "policy").figures["train_accuracy"] is None


def test_a_given_reference_is_the_anchor(chain, tmp_path):
    """At the reference all advantages are zero, so the first loss is log 2, whatever the reference."""
    store, rng = toy.OneHot(chain), np.random.default_rng(0)
    trajectories = [chain.roll(rng, str(i)) for i in range(20)]
    reference = fit_bc(trajectories, store=store, out=tmp_path / "bc", config=BCConfig(**SMALL))
    config = CPLConfig(**SMALL, bc_share=0.0, kl=True, conservative_bias=1.0)
    fit_cpl(
        chain.pairs(20, 0), store=store, out=tmp_path / "cpl", config=config, reference=reference,
        trajectories=trajectories,
    )  # fmt: skip
    curve = load_card(tmp_path / "cpl").figures["curve"]
    assert curve[0]["loss"] == pytest.approx(np.log(2), abs=0.02)
    with pytest.raises(InputError, match="kl is off"):
        fit_cpl(chain.pairs(5, 0), store=store, out=tmp_path / "x", reference=reference)


def test_bad_data_is_refused(chain, tmp_path):
    store, pairs = toy.OneHot(chain), chain.pairs(4, 0)
    mixed = [*pairs, PreferencePair(pairs[0].chosen, pairs[0].rejected, "honesty")]
    with pytest.raises(InputError, match="one objective"):
        fit_cpl(mixed, store=store, out=tmp_path / "a")
    test_only = [PreferencePair(p.chosen, p.rejected, "treasure", split="test") for p in pairs]
    with pytest.raises(InputError, match="no preference pair"):
        fit_cpl(test_only, store=store, out=tmp_path / "b")
    with pytest.raises(InputError, match="no step"):
        fit_bc([], store=store, out=tmp_path / "c")
    with pytest.raises(InputError, match="FeatureStore"):
        fit_cpl(pairs, store=store, out=tmp_path / "d", config=CPLConfig(lora_rank=4))
    fit_cpl(pairs, store=store, out=tmp_path / "e", config=CPLConfig(**SMALL))
    with pytest.raises(InputError, match="data was"):
        fit_cpl(chain.pairs(5, 0), store=store, out=tmp_path / "e", config=CPLConfig(**SMALL))


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("alpha", 0.0), ("conservative_bias", 1.5), ("gamma", 1.1), ("bc_share", -0.1),
     ("learning_rate", float("nan"))],
)  # fmt: skip
def test_bad_numbers_are_refused_with_the_fields_name(field, value):
    with pytest.raises(InputError, match=f"'{field}'"):
        CPLConfig(**{field: value})


def test_lora_learns_through_the_trunk_and_is_read_back(chain, tmp_path):
    store = FeatureStore(make_tiny_backbone())
    before = {name: value.clone() for name, value in store.backbone.model.state_dict().items()}
    config = CPLConfig(steps=5, batch_size=2, hidden=8, lora_rank=4, learning_rate=1e-2)
    pairs = chain.pairs(8, 0)
    policy = fit_cpl(pairs, store=store, out=tmp_path / "policy", config=config)
    assert isinstance(policy, OptionPolicy)
    assert policy.source.fingerprint != store.fingerprint
    adapter = tmp_path / "policy" / "adapter"
    assert (adapter / "adapter_model.safetensors").exists()
    assert any(
        "lora_B" in n and v.abs().max() > 0 for n, v in policy.source.backbone.model.named_parameters()
    )
    for name, value in store.backbone.model.state_dict().items():
        assert torch.equal(value, before[name]), "the store's trunk stays as it was"
    (again,) = load_policy(tmp_path / "policy", store).log_probs(chain.decisions[0][:1])
    np.testing.assert_allclose(again, policy.log_probs(chain.decisions[0][:1])[0], atol=1e-5)
    files = json.loads((tmp_path / "policy" / "card.json").read_text())["files"]
    assert "adapter/adapter_model.safetensors" in files
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        load_policy(tmp_path / "policy")


def test_lora_reads_back_what_was_trained(chain, tmp_path):
    """The policy as loaded has the accuracy that was measured on the trained module."""
    store = FeatureStore(make_tiny_backbone())
    config = BCConfig(steps=8, batch_size=8, hidden=8, lora_rank=4, learning_rate=1e-2)
    rng = np.random.default_rng(0)
    trajectories = [chain.roll(rng, str(i)) for i in range(6)]
    policy = fit_bc(trajectories, store=store, out=tmp_path / "bc", config=config)
    rows = policy.log_probs([step.decision for t in trajectories for step in t.steps])
    actions = [step.action for t in trajectories for step in t.steps]
    loss = -np.mean([row[action] for row, action in zip(rows, actions, strict=True)])
    assert loss < np.log(3)
    assert loss == pytest.approx(load_card(tmp_path / "bc").figures["curve"][-1]["loss"], abs=0.25)
