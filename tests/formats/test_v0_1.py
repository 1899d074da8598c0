"""Files as version 0.1.0 wrote them are read with the values that it read; its killed run continues.

``v0_1/values.json`` has those values, to six decimals, from 0.1.0 itself.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pluralign.core import Decision
from pluralign.core.records import (
    RecordWriter,
    continues,
    read_annotations,
    read_header,
    read_pairs,
    read_trajectories,
)
from pluralign.evaluate.report.model import read_report
from pluralign.evaluate.sweeps.stories import read_sweep
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.games.open import open_story
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.lm.backbone import load_backbone
from pluralign.lm.language_model import LanguageModel
from pluralign.options.features import FeatureStore
from pluralign.options.open import Models, open_policy
from pluralign.options.option_reward import load_option_reward
from pluralign.rewards.open import load_reward
from pluralign.rewards.value_model import load_value_model

OLD = Path(__file__).parent / "v0_1"
VALUES = json.loads((OLD / "values.json").read_text())
TEXTS = [Decision("Say ae:", (" ae!", " ae.")), Decision("Say be:", (" be!",))]


@pytest.fixture(scope="module")
def models():
    return Models("tiny-random", dtype="float32")


@pytest.fixture(scope="module")
def decisions():
    steps = [step for t in read_trajectories(OLD / "trajectories.jsonl") for step in t.steps]
    return [step.decision for step in steps[:3]]


def same(found, name):
    assert [len(row) for row in found] == [len(row) for row in VALUES[name]]
    for one, expected in zip(found, VALUES[name], strict=True):
        np.testing.assert_allclose(one, expected, atol=2e-5)


def test_records(tmp_path):
    trajectories = read_trajectories(OLD / "trajectories.jsonl")
    assert sum(len(t.steps) for t in trajectories) == VALUES["steps"]
    assert [t.returns() for t in trajectories[:3]] == VALUES["returns"]
    annotations = read_annotations(OLD / "annotations.jsonl")
    assert len(annotations) == VALUES["annotations"]
    assert [a.preference for a in annotations[:8]] == VALUES["preferences"]
    pairs = read_pairs(OLD / "pairs.jsonl")
    assert len(pairs) == VALUES["pairs"]
    assert [pairs[0].chosen.id, pairs[0].rejected.id, pairs[0].weight] == VALUES["first_pair"]


def test_a_file_of_records_continues(tmp_path):
    path = tmp_path / "trajectories.jsonl"
    shutil.copy(OLD / "trajectories.jsonl", path)
    header = {k: v for k, v in read_header(path, "trajectories").items() if k not in ("pluralign", "version")}
    assert continues(path, "trajectories", header)
    known = read_trajectories(path)
    with RecordWriter(path, "trajectories", header) as writer:
        writer.write(known[0])
    # Its decisions are in the file already, so one line is added.
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) == len((OLD / "trajectories.jsonl").read_text("utf-8").splitlines()) + 1
    assert read_trajectories(path) == [*known, known[0]]


def test_scores_and_a_sweep():
    rows = [json.loads(line) for line in (OLD / "scored.jsonl").read_text().splitlines()]
    reward = load_reward(OLD / "rm0")
    found = reward.score([row["prompt"] for row in rows], [row["completion"] for row in rows])
    np.testing.assert_allclose(found, [row["rewards"]["completion"]["reward"] for row in rows], atol=1e-5)
    report = read_report(OLD / "sweep" / "report.json")
    points = read_sweep(OLD / "sweep" / "sweep.jsonl")
    assert len(points) == 3
    assert sorted(p.weights["wealth"] for p in points) == [p.weights["wealth"] for p in report.sweep]


def test_a_side_file():
    pytest.importorskip("bink")
    info = open_story(OLD / "ferry.json").info
    coefficients = {objective.name: dict(objective.coefficients) for objective in info.objectives}
    assert coefficients["wealth"] == {"variable.gold": 1}
    assert coefficients["trust"] == {"variable.trusted": 1}
    assert info.max_options == 4


@pytest.mark.parametrize("name", ["bc", "cpl", "drrn"])
def test_policies_over_options(name, models, decisions):
    same(open_policy(str(OLD / name), models).log_probs(decisions), name)
    assert load_card(OLD / name).method == name


def test_a_posterior_over_rewards(models, decisions):
    same([own.mean for own in load_option_reward(OLD / "avril", models.store).rewards(decisions)], "avril")


@pytest.mark.parametrize(
    ("name", "spec"), [("rm0", "rm0"), ("ensemble", "ensemble"), ("closed-form", "closed-form:sft")]
)
def test_rewards(name, spec, monkeypatch):
    monkeypatch.chdir(OLD)
    found = load_reward(spec).score_decisions(TEXTS)
    same([own.mean for own in found], name)
    if name == "ensemble":
        same([own.sigma for own in found], "ensemble_sigma")


@pytest.mark.parametrize("name", ["sft", "sft-layer"])
def test_language_policies(name):
    model = LanguageModel(load_language_policy(OLD / name))
    same([own.log_likelihoods for own in model.option_log_likelihoods(TEXTS)], name)


def test_a_value_model():
    same([own for one in load_value_model(OLD / "value").values(TEXTS) for own in one], "value")


def test_a_killed_run_continues_to_the_weights_of_one_that_was_not(tmp_path, decisions):
    folder = tmp_path / "killed"
    shutil.copytree(OLD / "killed", folder)
    store = FeatureStore(load_backbone("tiny-random"))
    trajectories = read_trajectories(OLD / "trajectories.jsonl")
    policy = fit_bc(trajectories, store=store, out=folder, config=BCConfig(20, 16, hidden=4), seed=3)
    same(policy.log_probs(decisions), "whole")
