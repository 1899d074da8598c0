"""Whole trainings: planted preferences are recovered; killed, resumed and distributed runs end the same."""

import json
from pathlib import Path

import pytest
import torch
from planted import LEARNERS, pairs
from safetensors.torch import load_file
from scipy.stats import binomtest

from pluralign.core import InputError
from pluralign.core.locks import only_one_in
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.data import batches, encode_completion_pairs
from pluralign.learn.texts.log_probs import row_log_probs
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.sft import SFTLoss
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.rewards.reward_model import load_reward_model

SCRIPT = Path(__file__).parent / "train_and_die.py"


def _texts(pair):
    chosen, rejected = (s.steps[0] for s in (pair.chosen, pair.rejected))
    return chosen.decision, chosen.action, rejected.action


@pytest.mark.parametrize("tuning", [{}, {"lora_rank": 8}, {"layers": 1}, {"layers": 0}])
@pytest.mark.parametrize(
    "method", ["bradley-terry", "bt-variance", "discriminator", "preference-transformer", "ava-p"]
)
def test_a_planted_preference_is_recovered(method, tuning, tmp_path):
    settings = Training(epochs=4, learning_rate=1e-2 if tuning else 3e-3, bf16=False, **tuning)
    model = LEARNERS[method](pairs(64), Run("tiny-random", tmp_path / "m", settings))
    held_out = pairs(60, seed=1)
    decisions = [_texts(pair) for pair in held_out]
    scores = model.score_decisions([decision for decision, _, _ in decisions])
    right = sum(
        rewards.mean[a] > rewards.mean[b] for rewards, (_, a, b) in zip(scores, decisions, strict=True)
    )
    assert binomtest(int(right), 60).pvalue < 0.001
    assert right > 30
    again = load_reward_model(tmp_path / "m").score_decisions([decisions[0][0]])[0]
    assert again.mean.tolist() == scores[0].mean.tolist()
    gaussian = method in ("bt-variance", "ava-p")
    assert bool((scores[0].sigma > 0).all()) is gaussian


@pytest.mark.parametrize("method", ["dpo", "sft", "occupancy-sft", "contrastive-sft", "ava-p"])
def test_policies_write_like_the_chosen(method, tmp_path):
    LEARNERS[method](pairs(64), Run("tiny-random", tmp_path / "p", Training(epochs=4, learning_rate=3e-3)))
    data = encode_completion_pairs(
        pairs(40, seed=1), CompletionReader(load_backbone("tiny-random").tokenizer, 99)
    )
    gaps = []
    for backbone in (load_backbone("tiny-random"), load_language_policy(tmp_path / "p")):
        trunk = _Plain(backbone.model)
        found = row_log_probs(trunk, data, 4096, bf16=False)
        gaps.append(found[:, 0] - found[:, 1])
    assert binomtest(int((gaps[1] > gaps[0]).sum()), 40).pvalue < 0.001
    assert (gaps[1] > gaps[0]).float().mean() > 0.5


class _Plain:
    def __init__(self, model):
        self.model = model

    def __call__(self, batch):
        from pluralign.lm.trunk import forest_hidden_states

        return forest_hidden_states(self.model, batch.forest)


@pytest.mark.parametrize("method", ["bradley-terry", "discriminator", "ava-p", "dpo", "occupancy-sft"])
def test_the_cut_into_forests_changes_no_step(method, tmp_path):
    curves, weights = [], []
    for budget in (4096, 60):
        out = tmp_path / str(budget)
        settings = Training(epochs=0.5, learning_rate=1e-3, bf16=False, token_budget=budget)
        LEARNERS[method](pairs(32), Run("tiny-random", out, settings))
        curves.append(torch.tensor([entry["loss"] for entry in load_card(out).figures["curve"]]))
        weights.append(load_file(out / "trunk.safetensors"))
    torch.testing.assert_close(*curves, atol=1e-5, rtol=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("tuning", [{}, {"lora_rank": 4}, {"layers": 1}, {"bf16": True}])
def test_gradient_checkpointing_changes_no_weight(tuning, tmp_path):
    settings = {"epochs": 0.5, "learning_rate": 1e-3, "bf16": False, "token_budget": 60, **tuning}
    files = []
    for checkpointing in (False, True):
        out = tmp_path / str(checkpointing)
        training = Training(**settings, gradient_checkpointing=checkpointing)
        LEARNERS["dpo"](pairs(32), Run("tiny-random", out, training))
        (name,) = _weight_files(out)
        files.append(load_file(out / name))
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(value, files[1][name]) for name, value in files[0].items())


def test_a_seed_is_a_run(tmp_path):
    def weights(name, seed):
        run = Run("tiny-random", tmp_path / name, Training(bf16=False), seed)
        fit_bradley_terry(pairs(24), run)
        return (tmp_path / name / "trunk.safetensors").read_bytes()

    assert weights("a", 0) == weights("b", 0) != weights("c", 1)


@pytest.mark.parametrize(
    ("method", "kill_at", "extra"),
    [
        ("bradley-terry", 7, []),
        ("bradley-terry", 7, ["lora_rank=4"]),
        # The second of two heads, after the first one's six steps.
        ("frozen-heads", 10, []),
        ("joint-heads", 7, ["lora_rank=4"]),
    ],
)
def test_killed_and_resumed_ends_with_the_same_weights(method, kill_at, extra, forks, other_forks, tmp_path):
    def run(processes, out, kill_at=0):
        return processes.run(SCRIPT, method, out, kill_at, *extra)

    assert "forwards 12" in run(forks, tmp_path / "whole").stdout
    assert run(forks, tmp_path / "killed", kill_at).returncode == -9
    assert not (tmp_path / "killed" / "card.json").exists()
    resumed = run(other_forks, tmp_path / "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert int(resumed.stdout.split()[-1]) < 12
    for name in _weight_files(tmp_path / "whole"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def _weight_files(folder):
    files = json.loads((folder / "card.json").read_text())["files"]
    # PEFT writes the names of the adapted layers in another order each time.
    return [name for name in files if name.endswith(".safetensors")]


def test_two_processes_give_what_one_gives(forks, tmp_path):
    for method in ("bradley-terry", "sft"):
        done = forks.run(SCRIPT, method, tmp_path / method / "one", 0)
        assert done.returncode == 0, done.stderr
        both = forks.run_together(SCRIPT, method, tmp_path / method / "two", 0)
        assert all(process.returncode == 0 for process in both), both
        cards = [load_card(tmp_path / method / name) for name in ("one", "two")]
        curves = [torch.tensor([entry["loss"] for entry in card.figures["curve"]]) for card in cards]
        torch.testing.assert_close(*curves, atol=1e-5, rtol=1e-5)
        one, two = (load_file(tmp_path / method / name / "trunk.safetensors") for name in ("one", "two"))
        for name, value in one.items():
            torch.testing.assert_close(two[name], value, atol=1e-4, rtol=1e-3, msg=name)


def test_another_run_is_not_written_over(tmp_path):
    run = Run("tiny-random", tmp_path, Training(epochs=0.2, bf16=False))
    fit_bradley_terry(pairs(24), run)
    with pytest.raises(InputError, match=r"training\.epochs was 0\.2, is 0\.5"):
        fit_bradley_terry(pairs(24), Run("tiny-random", tmp_path, Training(epochs=0.5, bf16=False)))
    with pytest.raises(InputError, match="holds another run"):
        LEARNERS["ava-p"](pairs(24), run)


def test_two_at_a_time_in_one_folder_are_refused(tmp_path):
    run = Run("tiny-random", tmp_path, Training(epochs=0.2, bf16=False))
    with (
        only_one_in(tmp_path / "checkpoints" / "training"),
        pytest.raises(InputError, match="another process"),
    ):
        fit_bradley_terry(pairs(24), run)
    fit_bradley_terry(pairs(24), run)


def test_rows_stay_together_and_none_is_lost():
    data = encode_completion_pairs(pairs(20), CompletionReader(load_backbone("tiny-random").tokenizer, 99))
    found = list(batches(data, range(20), 100))
    assert len(found) > 3
    assert sorted(row for batch in found for row in batch.rows.tolist()) == list(range(20))
    assert sum(batch.share for batch in found) == pytest.approx(1)
    assert all(batch.forest.input_ids.numel() <= 100 or len(batch.rows) == 1 for batch in found)


def test_other_validation_rows_have_references_of_their_own(tmp_path):
    training = Training(epochs=0.2, learning_rate=3e-5, bf16=False)
    fit = LEARNERS["dpo"]
    for seed, count in ((1, 20), (2, 20), (3, 24)):
        rows = [*pairs(24), *pairs(count, seed=seed, split="validation")]
        for name in ("one", f"alone-{seed}"):
            fit(rows, Run("tiny-random", tmp_path / name, training))
        found = [
            load_card(tmp_path / name).figures["validation_accuracy"] for name in ("one", f"alone-{seed}")
        ]
        assert found[0] == found[1]


def test_a_row_twice_in_a_step_counts_twice(tmp_path):
    # Where one epoch ends and the next begins within a step, a row may be in it twice.
    session = Session("sft", Run("tiny-random", tmp_path), {}, pairs(8), vocabulary=True)
    module = SFTLoss(session.data)
    together, apart = (list(batches(session.data, [0, 1, 0], budget)) for budget in (10**6, 20))
    assert [len(together), len(apart)] == [1, 3]
    assert sorted(together[0].branches.flatten().tolist()) == list(range(6))
    with torch.no_grad():
        losses = [
            sum(float(module(session.trunk.model, session.trunk(batch), batch)) for batch in found)
            for found in (together, apart)
        ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_refusals(tmp_path):
    run = Run("tiny-random", tmp_path / "x", Training(bf16=False))
    with pytest.raises(InputError, match="no training pair"):
        fit_bradley_terry(pairs(4, split="test"), run)
    with pytest.raises(InputError, match="give lora_rank or layers"):
        fit_bradley_terry(pairs(4), Run("tiny-random", tmp_path / "y", Training(lora_rank=2, layers=1)))
    with pytest.raises(InputError, match="from 0 to the trunk's 2"):
        fit_bradley_terry(pairs(4), Run("tiny-random", tmp_path / "z", Training(layers=5)))
    for wrong in ({"batch_size": 0}, {"learning_rate": -1.0}, {"epochs": 0}, {"warmup": 2}, {"layers": -1}):
        with pytest.raises(InputError):
            Training(**wrong)
    assert Session("x", run, {}, pairs(4)).name == "lively"
