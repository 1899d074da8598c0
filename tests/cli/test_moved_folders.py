"""A folder finds the model that it was trained on, and moves with it."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.core import InputError
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.options.cpl import CPLConfig
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.options.checkpoint import load_policy
from pluralign.options.open import Models, open_policy
from pluralign.rewards.export import export_folder
from pluralign.rewards.open import load_reward

ROWS = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
TRAINING = pl.Training(epochs=1, learning_rate=1e-3, lora_rank=2)
ASKED = (["Say 1:"] * 2, [" yes", " no"])


def _save(folder, seed=3):
    make_tiny_model(seed).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the folders are learned; what was learned there is kept beside it, for each test."""
    place = tmp_path_factory.mktemp("place")
    root = place / "root"
    _save(root / "models" / "one")
    (root / "work").mkdir()
    pairs = pl.load_pairs(ROWS, objective="agreement", split="train")
    with contextlib.chdir(root / "work"):
        pl.fit_policy(pairs, model="../models/one", training=TRAINING, out="runs/policy")
        pl.fit_reward(pairs, model="../models/one/", training=TRAINING, out="runs/reward")
    shutil.move(root, place / "kept")
    return place


@pytest.fixture
def made(place, tmp_path, monkeypatch):
    """A model, and a policy and a reward model learned from it by relative names, in one folder."""
    shutil.copytree(place / "kept", place / "root")
    monkeypatch.chdir(tmp_path)
    yield place / "root"
    shutil.rmtree(place / "root", ignore_errors=True)


def _scores(root, **settings):
    rewards = [str(root / "work/runs/reward"), f"closed-form:{root / 'work/runs/policy'}"]
    return np.array([load_reward(spec, **settings).score(*ASKED) for spec in rewards])


def test_opens_from_every_working_directory(made, monkeypatch):
    expected = _scores(made)
    monkeypatch.chdir(made / "models")
    np.testing.assert_array_equal(_scores(made), expected)
    monkeypatch.chdir(made / "work")
    np.testing.assert_array_equal(_scores(made), expected)


def test_moves_with_its_model(made, tmp_path):
    expected = _scores(made)
    shutil.move(made, tmp_path / "elsewhere")
    np.testing.assert_array_equal(_scores(tmp_path / "elsewhere"), expected)


def test_the_folder_moves_alone(made, tmp_path):
    expected = load_reward(made / "work/runs/reward").score(*ASKED)
    shutil.move(made / "work/runs/reward", tmp_path / "alone")
    np.testing.assert_array_equal(load_reward(tmp_path / "alone").score(*ASKED), expected)


def test_a_missing_model_is_named_and_another_place_can_be_given(made, tmp_path, run, refuses):
    expected = _scores(made)
    shutil.move(made / "models", tmp_path / "kept")
    for spec in (made / "work/runs/reward", f"closed-form:{made / 'work/runs/policy'}"):
        with pytest.raises(InputError, match=r"field 'model': was trained on the model .*models/one, which"):
            load_reward(spec)
    model = str(tmp_path / "kept/one")
    np.testing.assert_array_equal(_scores(made, model=model), expected)
    assert load_language_policy(made / "work/runs/policy", model=model).name == "agreement"
    assert export_folder(made / "work/runs/policy", tmp_path / "x", model=model) == "language model"
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    out = tmp_path / "s.jsonl"
    command = ("score", "--model", made / "work/runs/reward", "--data", data, "--out", out)
    assert "--base" in refuses(*command)
    assert run(*command, "--base", model) == 0
    command = ("generate", "--model", made / "work/runs/policy", "--prompts", data, "--limit", 1)
    assert run(*command, "--base", model, "--out", tmp_path / "draws.jsonl") == 0


def test_the_location_of_a_moved_model_is_recorded(made, tmp_path, monkeypatch, run, refuses):
    expected = _scores(made)
    shutil.move(made / "models", tmp_path / "kept")
    folders = [made / "work/runs" / name for name in ("policy", "reward")]
    _save(tmp_path / "other", seed=4)
    before = [(folder / "card.json").read_text() for folder in folders]
    assert "different" in refuses("models", "locate", folders[0], tmp_path / "other")
    assert [(folder / "card.json").read_text() for folder in folders] == before
    monkeypatch.chdir(tmp_path)
    for folder in folders:
        assert run("models", "locate", folder, "kept/one") == 0
    monkeypatch.chdir(made)
    np.testing.assert_array_equal(_scores(made), expected)


def test_another_model_at_its_place_is_passed_over_or_refused(made, tmp_path):
    expected = _scores(made)
    shutil.copytree(made, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy/models/one")
    _save(tmp_path / "copy/models/one", seed=4)
    # The one next to the folder is another; the one from the root is right.
    np.testing.assert_array_equal(_scores(tmp_path / "copy"), expected)
    shutil.rmtree(made)
    with pytest.raises(InputError, match=r"was trained on a different '../models/one/?'"):
        _scores(tmp_path / "copy")
    with pytest.raises(InputError, match=r"was trained on a different"):
        load_reward(tmp_path / "copy/work/runs/reward", model="tiny-random")


def test_a_card_of_0_1_with_a_relative_name_is_found_from_the_folders_parents(made, monkeypatch):
    expected = _scores(made)
    for name in ("policy", "reward"):
        path = made / f"work/runs/{name}/card.json"
        card = json.loads(path.read_text())
        for key in ("path", "relative"):
            del card["backbone"][key]
        path.write_text(json.dumps(card))
    np.testing.assert_array_equal(_scores(made), expected)
    monkeypatch.chdir(made / "work")
    np.testing.assert_array_equal(_scores(made), expected)


def test_a_run_continues_whatever_its_model_is_called(made, monkeypatch):
    monkeypatch.chdir(made)
    pairs = pl.load_pairs(ROWS, objective="agreement", split="train")
    pl.fit_policy(pairs, model="models/one", training=TRAINING, out="work/runs/policy")
    _save(made / "models/two", seed=4)
    with pytest.raises(InputError, match=r"holds another run \(backbone.fingerprint was"):
        pl.fit_policy(pairs, model="models/two", training=TRAINING, out="work/runs/policy")


def test_policies_over_options_find_their_model(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    decision = pl.Decision("You stand at a gate.", ("Enter", "Leave"))
    segments = [pl.Segment(name, 0, (pl.Step(decision, i),)) for i, name in enumerate("xy")]
    pairs = [pl.PreferencePair(*segments, objective="o")] * 4
    pl.fit_cpl(pairs, store=Models("models/one").store, out=Path("cpl"), config=CPLConfig(steps=4))
    expected = load_policy(Path("cpl"), Models("models/one").store).log_probs([decision])
    monkeypatch.chdir(tmp_path)
    shutil.move(made, tmp_path / "elsewhere")
    for policy in (
        open_policy(str(tmp_path / "elsewhere/cpl"), Models()),
        load_policy(tmp_path / "elsewhere/cpl", None),
    ):
        np.testing.assert_array_equal(policy.log_probs([decision])[0], expected[0])


def test_ensembles_move_with_their_members_or_alone(made, tmp_path, monkeypatch, run):
    monkeypatch.chdir(made / "work")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": "a", "completion": f" {i}"}) + "\n" for i in range(4)))
    members = ("runs/reward", "closed-form:runs/policy")
    assert run("learn", "ensemble", "--members", *members, "--data", data, "--out", "runs/both") == 0
    expected = load_reward("runs/both").score(*ASKED)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "work/runs/both", tmp_path / "alone")
    np.testing.assert_array_equal(load_reward("alone").score(*ASKED), expected)
    shutil.move(made, tmp_path / "elsewhere")
    np.testing.assert_array_equal(load_reward("elsewhere/work/runs/both").score(*ASKED), expected)


def test_the_model_as_a_policy_may_be_named_in_two_ways(made):
    mix = pl.load_policies(
        str(made / "models/one"), whole=os.path.relpath(made / "models/one"), tuned=made / "work/runs/policy"
    )
    assert mix.shared
    assert mix.rows.backbone.dtype in (torch.float32, torch.bfloat16)
