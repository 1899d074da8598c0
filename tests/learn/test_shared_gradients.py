"""Weighed gradients on shared parameters: losses that are quadratic bowls, and policies of the toy chain."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pluralign.core import InputError
from pluralign.folders.tensors import read_tensors
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.joint_cpl import fit_joint_cpl
from pluralign.learn.shared_gradients import HeldOut, ObjectiveRows, SharedGradients
from pluralign.learn.steps import StepLoss
from pluralign.losses.pareto import guided_weights, min_norm_weights
from pluralign.options.checkpoint import load_card, load_policy

_spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
toy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(toy)

CENTRES = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
OWNERS = torch.tensor([0, 1, 1, 2, 0, 2])
SMALL = CPLConfig(steps=30, batch_size=16, hidden=8)


class Bowls(StepLoss):
    """Row i is |x + y_k - c_i|^2, with x shared and y_k of its objective k; row by row, or at once."""

    def __init__(self, shared, own, *, at_once=True):
        super().__init__()
        self.shared, self.own, self.at_once = shared, own, at_once

    def parts(self, rows):
        return [(rows, 1.0)] if self.at_once else [(rows[i : i + 1], 1 / len(rows)) for i in range(len(rows))]

    def forward(self, part):
        rows, share = part
        return {"loss": share * (self.shared + self.own[OWNERS[rows]] - CENTRES[rows]).square().sum(1).mean()}


def bowls(gradients, *, at_once=True, guide=None):
    """The weighed loss, and the parameter that is shared."""
    shared = nn.Parameter(torch.zeros(5, dtype=torch.float64))
    own = nn.Parameter(torch.zeros(3, 5, dtype=torch.float64))
    loss = Bowls(shared, own, at_once=at_once)
    held_out = None if guide is None else HeldOut(ObjectiveRows(loss, OWNERS), guide, 0)
    return SharedGradients(ObjectiveRows(loss, OWNERS), ["a", "b", "c"], [shared], gradients, held_out)


def step(weighed, rows=tuple(range(6))):
    """Gradients as a step of the trainer leaves them: shared and own; and the loss."""
    weighed.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for part in weighed.parts(torch.tensor(rows)):
        loss = weighed(part)["loss"]
        loss.backward()
        weighed.differentiated(part)
        total = total + loss.detach()
    return weighed.loss.shared.grad, weighed.loss.own.grad, total


def rows_of(rows=tuple(range(6))):
    """Gradient of each objective's mean loss over its rows at the start, shape (objectives, 5)."""
    chosen = torch.tensor(rows)
    means = [CENTRES[chosen[OWNERS[chosen] == k]].mean(0) for k in range(3) if k in OWNERS[chosen]]
    return -2 * torch.stack(means)


def test_equal_weights_have_the_gradient_of_the_mean():
    shared, own, loss = step(bowls("sum"))
    assert torch.allclose(shared, rows_of().mean(0))
    assert torch.allclose(own, rows_of() / 3)
    means = [CENTRES[k == OWNERS].square().sum(1).mean() for k in range(3)]
    assert float(loss) == pytest.approx(float(sum(means)) / 3)


@pytest.mark.parametrize("at_once", [True, False])
def test_shared_parameters_follow_the_shortest_vector_and_others_the_mean(at_once):
    weighed = bowls("min_norm", at_once=at_once)
    shared, own, _ = step(weighed)
    alpha = torch.tensor(min_norm_weights(rows_of().numpy()))
    assert torch.allclose(shared, alpha @ rows_of())
    assert torch.allclose(own, rows_of() / 3)
    found = weighed.figures()
    assert [found[f"gradient_weight_{name}"] for name in "abc"] == pytest.approx(alpha.tolist(), abs=1e-4)


def test_no_loss_rises_along_a_small_step():
    weighed = bowls("min_norm")
    shared, _, _ = step(weighed)
    before, after = (
        [float((x - CENTRES[k == OWNERS]).square().sum(1).mean()) for k in range(3)]
        for x in (torch.zeros(5), -1e-3 * shared)
    )
    assert all(b < a for a, b in zip(before, after, strict=True))


def test_an_objective_that_a_step_lacks_has_no_weight_in_it():
    weighed = bowls("min_norm")
    rows = (1, 3, 5)
    shared, own, _ = step(weighed, rows)
    gradients = rows_of(rows)
    assert torch.allclose(shared, torch.tensor(min_norm_weights(gradients.numpy())) @ gradients)
    assert torch.allclose(own[1:], gradients / 2)
    assert not own[0].any()
    assert weighed.figures()["gradient_weight_a"] == 0
    assert weighed.steps.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize("at_once", [True, False])
def test_guided_weights_follow_held_out_rows_from_which_nothing_is_learned(at_once):
    weighed = bowls("guided", guide=3, at_once=at_once)
    held_out = tuple(weighed._held_out[0].drawn(0).tolist())
    shared, own, loss = step(weighed)
    target = rows_of(held_out).mean(0)
    alpha = torch.tensor(guided_weights(rows_of().numpy(), target.numpy()))
    assert torch.allclose(shared, alpha @ rows_of(), atol=1e-6)
    assert torch.allclose(own, rows_of() / 3)
    assert float(loss) == pytest.approx(float(step(bowls("sum"))[2]))
    assert tuple(weighed._held_out[0].drawn(1).tolist()) != held_out


def test_conflicts_are_counted():
    weighed = bowls("min_norm")
    for rows in ((0, 1), (2, 3), (4, 5)):
        step(weighed, rows)
    cosines = [float(a @ b) for a, b in (rows_of(rows) for rows in ((0, 1), (2, 3), (4, 5)))]
    assert weighed.figures()["gradient_conflicts"] == round(np.mean([c < 0 for c in cosines]), 4)


def test_what_cannot_be_weighed_is_refused():
    rows = bowls("sum")._rows
    for shared, name, message in (([], "sum", "share no"), ([rows.loss.shared], "guided", "held-out"),
                                  ([rows.loss.shared], "pcgrad", "must be one of sum")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            SharedGradients(rows, ["a", "b", "c"], shared, name)
    weighed = bowls("min_norm")
    weighed.loss.shared.data[0] = torch.nan
    with pytest.raises(InputError, match="diverged"):
        step(weighed)


@pytest.fixture(scope="module")
def chain():
    return toy.Chain(1)


@pytest.fixture(scope="module")
def pairs(chain):
    """Pairs of a treasure and of its opposite, a quarter of them for validation."""
    own = [
        dataclasses.replace(pair, split="train" if i % 4 else "validation")
        for i, pair in enumerate(chain.pairs(300, 0))
    ]
    turned = [dataclasses.replace(p, chosen=p.rejected, rejected=p.chosen, objective="loss") for p in own]
    return {"treasure": own, "loss": turned}


@pytest.mark.parametrize("gradients", ["sum", "min_norm", "guided"])
def test_one_objective_has_the_weights_of_cpl_bit_for_bit(chain, pairs, tmp_path, gradients):
    config = dataclasses.replace(SMALL, kl=True)
    fit_cpl(pairs["treasure"], store=toy.OneHot(chain), out=tmp_path / "cpl", config=config)
    only = {"treasure": pairs["treasure"]}
    fit_joint_cpl(only, store=toy.OneHot(chain), out=tmp_path / "one", config=config, gradients=gradients)
    expected = read_tensors(tmp_path / "cpl" / "head.safetensors")
    found = read_tensors(tmp_path / "one" / "treasure" / "head.safetensors")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_other_pairs_to_follow_are_another_run(chain, pairs, tmp_path):
    config, store = dataclasses.replace(SMALL, steps=2), toy.OneHot(chain)
    only = {"treasure": pairs["treasure"]}
    fit_joint_cpl(only, store=store, out=tmp_path, config=config, gradients="guided")
    turned = [
        dataclasses.replace(pair, chosen=pair.rejected, rejected=pair.chosen)
        if pair.split == "validation" else pair
        for pair in pairs["treasure"]
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"held_out\.treasure was"):
        fit_joint_cpl({"treasure": turned}, store=store, out=tmp_path, config=config, gradients="guided")


@pytest.mark.parametrize("gradients", ["sum", "min_norm", "guided"])
def test_opposite_objectives_are_learned_on_one_layer(chain, pairs, tmp_path, gradients):
    config = CPLConfig(steps=150, batch_size=32, hidden=16, learning_rate=5e-3)
    store = toy.OneHot(chain)
    made = fit_joint_cpl(pairs, store=store, out=tmp_path / "out", config=config, gradients=gradients)
    layers = [read_tensors(tmp_path / "out" / name / "head.safetensors")["inner.weight"] for name in made]
    assert torch.equal(*layers)
    values = {}
    for name, policy in made.items():
        again = load_policy(tmp_path / "out" / name, store)
        assert again.name == name
        assert np.array_equal(chain.table(again), chain.table(policy))
        values[name] = chain.value(chain.table(policy))
    uniform = chain.value(np.full((toy.STEPS, toy.ROOMS, toy.ROOMS), 1 / 3))
    assert values["treasure"] > 1.1 * uniform
    assert values["loss"] < 0.9 * uniform
    card = load_card(tmp_path / "out" / "loss")
    assert card.objective == "loss"
    assert card.config["joint"] == ["treasure", "loss"]
    assert card.figures["gradient_weight_loss"] + card.figures["gradient_weight_treasure"] == pytest.approx(1)
    assert 0 < card.figures["gradient_conflicts"] <= 1


@pytest.mark.parametrize(
    ("config", "gradients", "change", "message"),
    [
        ({"lora_rank": 2}, "sum", {}, "frozen trunk only"),
        ({"hidden": 0}, "sum", {}, "share nothing"),
        ({}, "pcgrad", {}, "expected sum, min_norm, guided"),
        ({}, "sum", {"wealth": "loss"}, "pairs of the objective 'loss'"),
        ({}, "sum", {"a/b": "loss"}, "name of a folder"),
        ({}, "guided", {"loss": "train"}, "there is none"),
    ],
)
def test_joint_training_that_cannot_be_is_refused(chain, pairs, tmp_path, config, gradients, change, message):
    given = dict(pairs)
    for name, kind in change.items():
        del given["loss"]
        own = pairs["loss"]
        given[name] = [pair for pair in own if pair.split == "train"] if kind == "train" else own
    with pytest.raises(InputError, match=message):
        fit_joint_cpl(
            given, store=toy.OneHot(chain), out=tmp_path / "out",
            config=dataclasses.replace(SMALL, **config), gradients=gradients,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="at least one objective"):
        fit_joint_cpl({}, store=toy.OneHot(chain), out=tmp_path / "out")
