"""Adversarial imitation by a language model: a demonstrator who writes one character or another."""

import dataclasses
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest

from pluralign.core import Demonstration, InputError
from pluralign.core.locks import only_one_in
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.adversarial import reinforce, rounds
from pluralign.learn.texts.adversarial.loop import fit_adversarial
from pluralign.learn.texts.adversarial.rounds import AdversarialConfig
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.adversarial import AIRL, FAIRL
from pluralign.rewards.export import export_folder
from pluralign.rewards.reward_model import load_reward_model

ONE = Decoding(2)
SHARE = {"!": 0.8, ".": 0.2}
SLOW = Training(learning_rate=1e-3, batch_size=32, bf16=False)


def demonstrations(count, share, split="train", seed=0):
    """'!' with that probability, else '.'."""
    rng = np.random.default_rng(seed)
    return [
        Demonstration(f"{split} {i:03d} say:", "!" if rng.random() < share else ".", "lively", split=split)
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A language model that writes '!' three times in ten."""
    folder = tmp_path_factory.mktemp("base")
    training = Training(epochs=6, learning_rate=3e-3, batch_size=16, bf16=False)
    fit_sft(demonstrations(256, 0.3), Run("tiny-random", folder / "sft", training))
    export_folder(folder / "sft", folder / "model")
    return str(folder / "model")


def written(backbone, count=200):
    prompts = [f"test {i:03d} say:" for i in range(count)]
    found = draw_samples(backbone, prompts, 1, ONE, seed=5, label="test")
    return Counter(text for (text,) in found.values())


def distance(counts):
    """Total variation from the demonstrator."""
    total = counts.total()
    return sum(abs(SHARE.get(key, 0) - counts[key] / total) for key in {*SHARE, *counts}) / 2


@pytest.mark.parametrize(("divergence", "rank", "rate"), [(AIRL, 0, 4e-4), (FAIRL, 8, 2e-3)])
def test_the_demonstrator_s_frequencies_are_found(base, tmp_path, divergence, rank, rate):
    rows = demonstrations(256, 0.8, seed=1) + demonstrations(64, 0.8, "validation", 2)
    training = Training(learning_rate=rate, batch_size=32, lora_rank=rank, bf16=False)
    config = AdversarialConfig(rounds=4, prompts=64, samples=8, max_new_tokens=2, discriminator=SLOW)
    out = tmp_path / "out"
    policy = fit_adversarial(rows, Run(base, out, training), config, divergence=divergence)
    before, after = written(load_backbone(base)), written(policy)
    assert distance(before) > 0.4
    assert binomtest(after["!"], 200, before["!"] / 200, alternative="greater").pvalue < 1e-6
    # Imitated, not maximised: a reward for '!' alone would leave nothing else.
    assert distance(after) < 0.25
    card = load_card(out)
    assert card.config["divergence"] == divergence.name
    first = card.figures["rounds"][0]
    assert [figures["round"] for figures in card.figures["rounds"]] == [1, 2, 3, 4]
    assert first["measured_on"] == "validation"
    assert first["accuracy"] > 0.5
    assert first["reward_after"] > first["reward"]
    assert card.figures["kl"] > 0
    assert sorted(path.name for path in (out / "rounds").iterdir()) == ["1", "2", "3", "4"]
    assert [path.name for path in (out / "rounds" / "3").iterdir()] == ["figures.json"]
    assert load_reward_model(out / "rounds" / "4" / "discriminator").card.method == "discriminator"
    again = load_language_policy(out)
    assert written(again) == after


def small(out, base, **changes):
    training = Training(learning_rate=1e-3, batch_size=8, bf16=False, **changes)
    config = AdversarialConfig(rounds=2, prompts=8, samples=4, max_new_tokens=2, discriminator=SLOW)
    return demonstrations(16, 0.8, seed=1), Run(base, out, training), config


@pytest.mark.parametrize("rank", [0, 4])
def test_interrupted_and_continued_ends_with_the_same_weights(base, tmp_path, monkeypatch, rank):
    def weights(out):
        (path,) = [*out.glob("trunk.safetensors"), *out.glob("adapter/adapter_model.safetensors")]
        return load_file(path)

    fit_adversarial(*small(tmp_path / "whole", base, lora_rank=rank))
    seen = []

    def interrupt(*arguments, **names):
        seen.append(names["seed"])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return reinforce.reinforce(*arguments, **names)

    monkeypatch.setattr(rounds, "reinforce", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit_adversarial(*small(tmp_path / "stopped", base, lora_rank=rank))
    assert not (tmp_path / "stopped" / "card.json").exists()
    # What state the other process's generators were in must not matter.
    torch.manual_seed(99)
    fit_adversarial(*small(tmp_path / "stopped", base, lora_rank=rank))
    # The first round was not made again, and the second one with the same seed.
    assert len(seen) == 3
    assert seen[1] == seen[2] != seen[0]
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == stopped.keys()
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    # An adapter begins with zeros in B.
    initial = load_backbone(base).model.state_dict() if not rank else {}
    learned = [name for name in whole if not rank or "lora_B" in name]
    assert all((whole[name] - initial.get(name, 0.0)).abs().max() > 1e-5 for name in learned)
    # A finished run is read and not run again.
    fit_adversarial(*small(tmp_path / "stopped", base, lora_rank=rank))
    assert len(seen) == 3


def test_another_run_is_not_written_over(base, tmp_path):
    rows, run, config = small(tmp_path, base)
    fit_adversarial(rows, run, dataclasses.replace(config, rounds=1))
    with pytest.raises(InputError, match=r"config\.divergence was 'airl', is 'fairl'"):
        fit_adversarial(rows, run, dataclasses.replace(config, rounds=1), divergence=FAIRL)


def test_two_at_a_time_in_one_folder_are_refused(base, tmp_path):
    with only_one_in(tmp_path / "checkpoints"), pytest.raises(InputError, match="another process"):
        fit_adversarial(*small(tmp_path, base))
    assert not (tmp_path / "rounds").exists()


def test_a_weight_on_the_divergence_from_the_initial_policy_holds_it_back(base, tmp_path):
    rows, run, config = small(tmp_path, base)
    found = []
    for kl in (0.0, 100.0):
        own = dataclasses.replace(config, rounds=1, prompts=16, kl=kl)
        training = dataclasses.replace(run.training, epochs=4)
        out = tmp_path / str(kl)
        fit_adversarial(rows, dataclasses.replace(run, out=out, training=training), own)
        found.append(load_card(out).figures["kl"])
    assert found[0] > 0.1
    assert abs(found[1]) < found[0] / 5


def test_refusals(base, tmp_path, monkeypatch):
    rows, run, config = small(tmp_path / "out", base)

    def refused(message, **changes):
        given = {"rows": rows, "config": config, **changes}
        training = dataclasses.replace(run.training, **given.pop("training", {}))
        with pytest.raises(InputError, match=message):
            fit_adversarial(given["rows"], dataclasses.replace(run, training=training), given["config"])

    refused("multiple of the 4 samples per prompt, found 10", training={"batch_size": 10})
    refused("at most the 4 samples of 8 prompts, found 64", training={"batch_size": 64})
    refused("whole trunk or an adapter", training={"layers": 1})
    refused("has no effect on policy gradients", training={"report_to": ("tensorboard",)})
    wide = dataclasses.replace(config, max_new_tokens=5)
    refused("leave room for 5 new tokens, found 4", training={"max_length": 4}, config=wide)
    refused("no training pair", rows=demonstrations(4, 0.5, "test"))
    for wrong in ({"rounds": 0}, {"samples": 1}, {"temperature": 0.0}, {"logit_limit": 0.0}, {"kl": -1.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            dataclasses.replace(config, **wrong)
    # Nothing of this claimed the folder.
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "trl.trainer.rloo_config", None)
    refused(r"pip install 'pluralign\[rl\]'")


def test_the_policy_gradient_raises_its_reward_by_plain_advantages(base, tmp_path, monkeypatch):
    from trl.trainer.rloo_trainer import RLOOTrainer

    given, taken = [], []
    scored = RLOOTrainer._generate_and_score_completions

    def watched(self, inputs):
        result = scored(self, inputs)
        taken.append(result["advantages"])
        return result

    def reward(prompts, completions):
        given.append(
            [1000.0 * (text == "!") + len(prompt) for prompt, text in zip(prompts, completions, strict=True)]
        )
        return given[-1]

    monkeypatch.setattr(RLOOTrainer, "_generate_and_score_completions", watched)
    policy = load_backbone(base, dtype=torch.float32)
    before = written(policy)
    training = Training(epochs=2, learning_rate=1e-3, batch_size=32, bf16=False)
    prompts = [row.prompt for row in demonstrations(64, 0.5)]
    reinforce.reinforce(
        policy, prompts, reward, training=training, samples=4, sampling=ONE, seed=0, folder=tmp_path
    )
    assert len(given) == training.steps(64 * 4) == 16
    assert binomtest(written(policy)["!"], 200, before["!"] / 200, alternative="greater").pvalue < 1e-6
    rewards, advantages = torch.tensor(given[0]).view(-1, 4), taken[0].view(-1, 4)
    # Neither divided by a standard deviation nor joined by another term.
    torch.testing.assert_close(advantages, rewards - (rewards.sum(1, keepdim=True) - rewards) / 3)
    assert advantages.abs().max() > 100


def test_a_batch_that_is_read_in_parts_takes_the_same_steps(base, tmp_path, monkeypatch):
    from trl.trainer.rloo_trainer import RLOOTrainer

    sizes = []
    scores = RLOOTrainer._compute_loss

    def watched(self, model, inputs):
        sizes.append(len(inputs["completion_ids"]))
        return scores(self, model, inputs)

    monkeypatch.setattr(RLOOTrainer, "_compute_loss", watched)

    def reward(prompts, completions):
        return [float(text == "!") for text in completions]

    def trained(token_budget, **options):
        policy = load_backbone(base, dtype=torch.float32)
        training = Training(
            learning_rate=1e-3, batch_size=16, bf16=False, token_budget=token_budget, **options
        )
        reinforce.reinforce(
            policy, [row.prompt for row in demonstrations(8, 0.5)], reward, training=training, samples=4,
            sampling=ONE, seed=0, folder=tmp_path / str(token_budget),
        )  # fmt: skip
        taken, sizes[:] = list(sizes), []
        return taken, policy.model.state_dict()

    whole_sizes, whole = trained(4096)
    sizes_of_parts, parts = trained(4, gradient_checkpointing=True)
    assert whole_sizes == [16, 16]
    assert sizes_of_parts == [1] * 32
    before = load_backbone(base, dtype=torch.float32).model.state_dict()
    assert any((whole[name] - before[name]).abs().max() > 3e-4 for name in whole)
    for name, weights in whole.items():
        torch.testing.assert_close(parts[name], weights, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("batch_size", "most", "size"),
    [(64, 10, 8), (64, 64, 64), (64, 100, 64), (12, 5, 4), (7, 6, 1), (8, 0, 1)],
)
def test_parts_of_a_batch_are_equal(batch_size, most, size):
    assert reinforce._completions_at_once(batch_size, most) == size


def test_vllm_samples_through_trls_own_options(monkeypatch, tmp_path):
    config, _ = reinforce._trl()
    with reinforce._known_warnings():
        remote = VLLMSampling("server", url="http://h:8000", group_port=5, timeout=9.0).arguments()
        own = VLLMSampling("colocate", memory=0.5, max_length=512, tensor_parallel=2).arguments()
        for given in (remote, own, VLLMSampling().arguments()):
            made = config(output_dir=str(tmp_path), use_cpu=True, bf16=False, **given)
            assert {name: getattr(made, name) for name in given} == given
    assert remote["vllm_server_base_url"] == "http://h:8000"
    assert own["vllm_gpu_memory_utilization"] == 0.5
    assert remote["use_vllm"]
    assert own["use_vllm"]


@pytest.mark.parametrize("found", [None, object()])
def test_vllm_that_cannot_run_is_refused_before_training(monkeypatch, tmp_path, found):
    monkeypatch.setattr("pluralign.learn.texts.adversarial.vllm_sampling.find_spec", lambda name: found)
    rows, run, config = small(tmp_path / "a", "tiny-random")
    with pytest.raises(InputError, match="requires vllm" if found is None else "requires a CUDA device"):
        fit_adversarial(rows, run, config, vllm=VLLMSampling("colocate"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(("mode", "url"), [("server", None), ("colocate", "http://h"), ("off", "http://h")])
def test_the_url_belongs_to_the_server(mode, url):
    with pytest.raises(InputError, match="'url'"):
        VLLMSampling(mode, url=url)
