"""Losses given as functions: one's own train like built-in ones, and wrong ones are refused."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import torch
from planted import pairs
from safetensors.torch import load_file
from torch.nn.functional import softplus

from pluralign import losses
from pluralign.core import InputError
from pluralign.core.function_digests import function_digest
from pluralign.folders.card import load_card
from pluralign.learn.texts.ava import fit_ava_p
from pluralign.learn.texts.loss_settings import loss_settings
from pluralign.learn.texts.own_losses import describe_loss
from pluralign.learn.texts.policies import DPOConfig, fit_dpo, fit_policy
from pluralign.learn.texts.reward_settings import BradleyTerryConfig
from pluralign.learn.texts.rewards import fit_bradley_terry, fit_bt_variance, fit_reward
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone
from pluralign.losses.likelihood import clamped_negative

TRAINING = Training(epochs=1, learning_rate=3e-3, bf16=False)
ROWS = [*pairs(24), *pairs(8, seed=2, split="validation")]


def own(chosen, rejected, reference_chosen, reference_rejected, beta=0.5, name="x"):
    return softplus(beta * (rejected - reference_rejected) - beta * (chosen - reference_chosen))


def assert_same(one, other):
    one, other = (load_file(folder / "trunk.safetensors") for folder in (one, other))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_policy_loss_of_ones_own(tmp_path):
    soft = [dataclasses.replace(pair, weight=0.75) for pair in ROWS]
    for rows, name in ((ROWS, "hard"), (soft, "soft")):
        fit_policy(
            rows,
            model="tiny-random",
            loss=partial(own, beta=0.2),
            out=tmp_path / name,
            training=TRAINING,
            seed=3,
        )
        fit_dpo(rows, Run("tiny-random", tmp_path / f"dpo-{name}", TRAINING, 3), DPOConfig(beta=0.2))
        assert_same(tmp_path / name, tmp_path / f"dpo-{name}")
    card, dpo = load_card(tmp_path / "hard"), load_card(tmp_path / "dpo-hard")
    assert (card.method, dpo.method) == (f"{__name__}.own", "dpo")
    config = dict(card.config)
    config.pop("training")
    assert config == {"beta": 0.2, "name": "x", "loss_source": function_digest(own)}
    assert card.figures["curve"] == dpo.figures["curve"]
    assert card.figures["validation_accuracy"] == dpo.figures["validation_accuracy"]


def test_another_function_of_the_same_name_is_another_run(tmp_path):
    def fit(loss):
        return fit_policy(ROWS[:8], model="tiny-random", loss=loss, out=tmp_path, training=TRAINING)

    fit(lambda chosen, rejected, *reference: softplus(rejected - chosen))
    with pytest.raises(InputError, match=r"config\.loss_source was '\w+', is '\w+'"):
        fit(lambda chosen, rejected, *reference: softplus(chosen - rejected))
    # Version 0.1.0 recorded the name alone.
    record = tmp_path / "checkpoints" / "run.json"
    known = json.loads(record.read_text())
    del known["config.loss_source"]
    record.write_text(json.dumps(known))
    fit(lambda chosen, rejected, *reference: softplus(rejected - chosen))


def test_penalties_of_ava_may_have_settings():
    for floor in (-5.0, -4.0):
        negative = partial(clamped_negative, floor=floor)
        reward = fit_ava_p(ROWS[:8], Run("tiny-random", training=TRAINING), negative=negative)
        assert reward.card.config["negative"] == f"clamped_negative(floor={floor})"
    reward = fit_ava_p(ROWS[:8], Run("tiny-random", training=TRAINING), negative=lambda x: 0.5 * x)
    assert reward.card.config["negative"] == "<lambda>"
    assert reward.card.config["negative_source"]


def test_a_built_in_loss_is_its_method(tmp_path):
    fit_policy(
        ROWS, model="tiny-random", loss=partial(losses.dpo, beta=0.2), out=tmp_path / "a", training=TRAINING
    )
    fit_dpo(ROWS, Run("tiny-random", tmp_path / "a", TRAINING), DPOConfig(beta=0.2))
    fit_reward(ROWS, model="tiny-random", out=tmp_path / "b", training=TRAINING)
    fit_bradley_terry(ROWS, Run("tiny-random", tmp_path / "b", TRAINING))
    fit_reward(
        ROWS,
        model="tiny-random",
        loss=losses.learned_variance,
        out=tmp_path / "c",
        training=TRAINING,
    )
    assert load_card(tmp_path / "c").method == "bt-variance"


def test_a_reward_loss_of_ones_own_and_margins(tmp_path):
    def hinge(chosen, rejected, margin, *, least=1.0):
        return torch.relu(least + margin - (chosen - rejected))

    rows = [dataclasses.replace(pair, margin=0.25) for pair in ROWS]
    reward = fit_reward(rows, model="tiny-random", loss=hinge, out=tmp_path / "a", training=TRAINING)
    assert load_card(tmp_path / "a").method.endswith("hinge")
    fit_reward(
        ROWS, model="tiny-random", loss=partial(hinge, least=1.25), out=tmp_path / "b", training=TRAINING
    )
    curves = [load_card(tmp_path / name).figures["curve"] for name in "ab"]
    assert curves[0] == [{**entry, "loss": pytest.approx(entry["loss"], abs=1e-5)} for entry in curves[1]]
    assert len(reward.score(["Say:"] * 2, [" a!", " a."])) == 2


def test_a_margin_that_is_demanded_of_every_pair_leaves_ties_undecided(tmp_path):
    """The expectation over labels of a tie has its minimum at equal rewards, whatever is demanded."""
    ties = [dataclasses.replace(pair, weight=0.5) for pair in pairs(8)]
    training = Training(epochs=40, batch_size=8, learning_rate=3e-3, bf16=False)
    for fit in (fit_bradley_terry, fit_bt_variance):
        reward = fit(ties, Run("tiny-random", training=training), BradleyTerryConfig(margin=2.0))
        sides = [[pair.texts()[side] for pair in ties] for side in (0, 1)]
        chosen, rejected = (reward.gaussian_of_texts(texts).mean for texts in sides)
        assert abs(chosen - rejected).max() < 0.1


def test_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    settings = {"loss": losses.ipo, "training": TRAINING, "seed": 1}
    kept = fit_policy(ROWS, model="tiny-random", out=tmp_path / "kept", **settings)
    found = fit_policy(ROWS, model=load_backbone("tiny-random"), **settings)
    assert not list((tmp_path / "temporary").iterdir())
    one, other = (policy.model.state_dict() for policy in (kept, found))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert found.fingerprint != load_backbone("tiny-random").fingerprint
    with pytest.raises(InputError, match="a loaded model must be as its name loads it"):
        fit_policy(ROWS, model=found, **settings)
    changed = load_backbone("tiny-random")
    with torch.no_grad():
        next(changed.model.parameters()).mul_(1.5)
    with pytest.raises(InputError, match="a loaded model must be as its name loads it"):
        fit_policy(ROWS, model=changed, **settings)


def test_gradients_that_are_switched_off_are_on_in_training():
    settings = {"model": "tiny-random", "loss": own, "training": TRAINING}
    expected = fit_policy(ROWS, **settings).fingerprint
    with torch.no_grad():
        assert fit_policy(ROWS, **settings).fingerprint == expected


def test_numbers_of_numpy_are_numbers(tmp_path):
    training = Training(
        epochs=np.int64(1), batch_size=np.int64(4), learning_rate=np.float32(1e-3), lora_rank=np.int64(2)
    )
    found = fit_policy(
        ROWS, model="tiny-random", loss=partial(own, beta=np.float32(0.5)), training=training,
        seed=np.int64(3), out=tmp_path,
    )  # fmt: skip
    card = load_card(tmp_path)
    assert (found.name, card.seed, card.config["beta"]) == (ROWS[0].objective, 3, 0.5)
    assert card.config["training"]["lora_rank"] == 2


def test_length_normalised_and_without_a_reference(tmp_path):
    arguments = {"model": "tiny-random", "training": TRAINING, "reference": False, "per_token": True}
    fit_policy(ROWS, loss=losses.simpo, out=tmp_path, **arguments)
    card = load_card(tmp_path)
    assert card.method == "simpo"
    assert {"beta": 2.0, "gamma": 1.0, "reference": False, "per_token": True}.items() <= card.config.items()
    assert not (tmp_path / "checkpoints" / "reference_train.safetensors").exists()


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (lambda *sides: losses.dpo(*sides).mean(), r"one loss for each of 3 pairs, found shape \(\)"),
        (losses.simpo, "simpo is a loss of means per token"),
        (lambda c, r, rc, rr: rc - rr, "does not depend on chosen and rejected"),
        (lambda c, r, rc, rr: (c - r) * torch.nan, "is not finite when called"),
        (lambda c, r, rc, rr: 1 / 0, "ZeroDivisionError"),
        (partial(losses.ipo, tau=0), "field 'tau': must be above 0"),
        (partial(lambda a, c, r, rc, rr: c - r, 1.0), "keyword arguments"),
        (partial(own, name=torch.ones(2)), "the setting 'name' cannot be written to the card"),
        ("dpo", "expected a function, found 'dpo'"),
        (lambda c, r: c - r, "expected a function of chosen, rejected, reference_chosen"),
    ],
)
def test_wrong_losses_are_refused_before_any_work(loss, told, tmp_path):
    with pytest.raises(InputError, match=told):
        fit_policy(ROWS, model="tiny-random", loss=loss, out=tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_function_without_a_signature_is_refused(tmp_path):
    for loss in (torch.maximum, max):
        with pytest.raises(InputError, match="expected a function of chosen, rejected, margin"):
            fit_reward(ROWS, model="tiny-random", loss=loss, out=tmp_path / "x")


def test_uncertain_labels_are_refused_where_a_method_cannot_use_them(tmp_path):
    from pluralign.learn.texts.ava import fit_ava_d
    from pluralign.learn.texts.rewards import fit_discriminator
    from pluralign.learn.texts.sft import fit_sft

    rows = [dataclasses.replace(ROWS[0], weight=0.5), *ROWS]
    for fit, name in ((fit_discriminator, "discriminator"), (fit_sft, "sft"), (fit_ava_d, "ava-d")):
        with pytest.raises(InputError, match=f"{name} does not support uncertain labels"):
            fit(rows, Run("tiny-random", tmp_path / "x", TRAINING))
    assert not (tmp_path / "x").exists()


def test_settings_of_losses():
    columns = ("chosen", "rejected", "reference_chosen", "reference_rejected")
    assert describe_loss(partial(partial(losses.ipo, tau=0.5), tau=0.2), columns) == ("ipo", {"tau": 0.2})
    mine = describe_loss(partial(own, name=softplus), columns)[1]
    assert mine == {"beta": 0.5, "name": "softplus", "loss_source": function_digest(own)}
    assert dataclasses.asdict(loss_settings(losses.simpo)()) == {"beta": 2.0, "gamma": 1.0}
