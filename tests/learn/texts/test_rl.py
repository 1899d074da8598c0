"""A policy gradient on several rewards: TRL's advantages are ours, interrupted runs, targets, refusals."""

import dataclasses
import importlib
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from planted import letters, low
from random_states import drawn
from safetensors.torch import load_file

import pluralign as pl
from pluralign.core import InputError, SteeringWeights
from pluralign.core.level import Level
from pluralign.core.splits import split_of
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.combination import Combination, Tail
from pluralign.learn.constraints import Constrained
from pluralign.learn.texts import rl_rounds
from pluralign.learn.texts.adversarial import reinforce
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.rl import fit_rl
from pluralign.learn.texts.rl_rounds import RLConfig
from pluralign.learn.texts.run import Run
from pluralign.learn.weighting import ByHypervolume, Fixed
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.advantages import (
    centred_sum,
    dvao,
    fused_sum,
    gdpo,
    reward_combination,
)

WEIGHTS = SteeringWeights(letters=0.7, low=0.3)
PROMPTS = [f"Say {i}:" for i in range(24)]


REWARDS = {"letters": letters, "low": low}


def config(**changes):
    return dataclasses.replace(RLConfig(rounds=2, prompts=8, samples=4, max_new_tokens=3), **changes)


def run(out, **changes):
    training = {"learning_rate": 2e-3, "batch_size": 16, "bf16": False, **changes}
    return Run("tiny-random", out, pl.Training(**training))


def rewards_of(policy):
    """Rewards of 64 completions of each prompt."""
    drawn = draw_samples(policy, PROMPTS, 64, Decoding(3), seed=9, label="measured")
    prompts = [prompt for prompt, own in drawn.items() for _ in own]
    texts = [text for own in drawn.values() for text in own]
    return {name: np.array(reward(prompts, texts)) for name, reward in REWARDS.items()}


def test_trl_logs_these_advantages_and_the_rewards_rise(tmp_path, monkeypatch):
    from trl.trainer.rloo_trainer import RLOOTrainer

    given, taken = [], []
    scored, combined = RLOOTrainer._generate_and_score_completions, Combination.advantages

    def watched(self, inputs):
        result = scored(self, inputs)
        taken.append(result["advantages"])
        return result

    def advantages(self, *arguments):
        given.append(combined(self, *arguments))
        return given[-1]

    monkeypatch.setattr(RLOOTrainer, "_generate_and_score_completions", watched)
    monkeypatch.setattr(Combination, "advantages", advantages)
    training = run(tmp_path / "out", lora_rank=4, epochs=3.0, learning_rate=5e-2)
    policy = fit_rl(
        PROMPTS, training, config(kl=0.05), rewards=REWARDS, weighting=Fixed(WEIGHTS), combine=dvao
    )
    assert len(given) == len(taken) == 12
    for own, other in zip(given, taken, strict=True):
        torch.testing.assert_close(other, own.flatten().float(), atol=1e-5, rtol=1e-4)
    card = load_card(tmp_path / "out")
    assert card.config["combine"] == "dvao"
    assert card.config["weighting"] == {"kind": "fixed", "weights": dict(WEIGHTS)}
    before, *_, after = rounds = card.figures["rounds"]
    assert [figures["round"] for figures in rounds] == [0, 1, 2]
    first, last = rewards_of(load_backbone("tiny-random")), rewards_of(policy)
    # About six standard errors.
    assert sum(WEIGHTS[n] * (last[n].mean() - first[n].mean()) / first[n].std() for n in REWARDS) > 0.1
    assert after["kl"] > 0
    assert after["weights"] == dict(WEIGHTS)
    # The first draw; then each round's batches (3 passes over 8 prompts) and its measurement.
    held_out = sum(split_of(prompt) == "validation" for prompt in PROMPTS)
    assert card.data["validation_prompts"] == held_out
    measured = min(2, held_out) or 2
    assert after["samples"] == before["samples"] + 2 * (3 * 8 * 4 + 4 * measured)
    again = load_language_policy(tmp_path / "out")
    ids = torch.tensor([again.tokenizer("Say:")["input_ids"]])
    torch.testing.assert_close(again.model(ids).logits, policy.model(ids).logits)


@pytest.mark.parametrize(
    "weighting",
    [
        ByHypervolume(WEIGHTS),
        Constrained(REWARDS, at_least={"low": Level(0.3, relative=True)}, weights=WEIGHTS, rate=0.5),
    ],
    ids=["hypervolume", "constrained"],
)
def test_interrupted_and_continued_ends_with_the_same_weights(tmp_path, monkeypatch, weighting):
    def fit(out):
        training = run(out, lora_rank=2)
        return fit_rl(PROMPTS, training, config(kl=0.05), rewards=REWARDS, weighting=weighting)

    def weights(out):
        return load_file(out / "adapter" / "adapter_model.safetensors")

    untouched = weighting.state()
    fit(tmp_path / "whole")
    assert weighting.state() == untouched
    seen = []

    def interrupt(*arguments, **names):
        seen.append(names["seed"])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return reinforce.reinforce(*arguments, **names)

    monkeypatch.setattr(rl_rounds, "reinforce", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "card.json").exists()
    torch.manual_seed(99)
    fit(tmp_path / "stopped")
    assert len(seen) == 3
    assert seen[1] == seen[2] != seen[0]
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert any(value.abs().max() > 1e-5 for name, value in whole.items() if "lora_B" in name)
    cards = [load_card(tmp_path / name).figures for name in ("whole", "stopped")]
    assert cards[0]["rounds"] == cards[1]["rounds"]
    if isinstance(weighting, Constrained):
        assert cards[0]["multipliers"]["low"] > 0
        assert cards[0]["multipliers"]["letters"] == 0
    # A finished run is read and not run again, and another one is refused.
    fit(tmp_path / "stopped")
    assert len(seen) == 3
    with pytest.raises(InputError, match=r"config\.kl was 0\.05, is 0\.0"):
        fit_rl(
            PROMPTS, run(tmp_path / "stopped", lora_rank=2), config(kl=0.0), rewards=REWARDS,
            weighting=Fixed(WEIGHTS),
        )  # fmt: skip


def test_refusals(tmp_path):
    def refused(message, *, training=None, rewards=REWARDS, weighting=None, combine=centred_sum, **changes):
        chosen = run(tmp_path / "out", **(training or {}))
        with pytest.raises(InputError, match=message):
            fit_rl(
                changes.pop("prompts", PROMPTS), chosen,
                dataclasses.replace(config(), **changes.pop("config", {})),
                rewards=rewards, weighting=weighting or Fixed(WEIGHTS), combine=combine,
            )  # fmt: skip

    refused("'weighting': expected a weighting", weighting=3)
    refused("'low' is in one of them only", rewards={"letters": letters})
    refused("reward_combination cancels the factor", weighting=ByHypervolume(WEIGHTS),
            combine=reward_combination)  # fmt: skip
    refused("dvao cancels a tail", config={"tail": Tail()}, combine=dvao)
    refused("its weight is no price", combine=gdpo)
    refused("'combine': the trainer's leave-one-out baseline takes the place", combine=fused_sum)
    target = Constrained(REWARDS, at_least={"low": Level(0)})
    refused("'kl': must be above 0 with targets", weighting=target, config={"kl": 0.0})
    refused("'tail': cannot be combined with targets", weighting=target, config={"tail": Tail()})
    refused("whole trunk or an adapter", training={"layers": 1})
    refused("'report_to': has no effect", training={"report_to": ("tensorboard",)})
    refused("at most the 4 samples of 3 prompts, found 16", config={"prompts": 3})
    refused("'prompts'", prompts=["", "x"])
    refused("'prompts'", prompts=[])
    refused("room for 9 new tokens", training={"max_length": 4}, config={"max_new_tokens": 9})
    assert not (tmp_path / "out").exists()
    constant = {**REWARDS, "low": lambda prompts, completions: [1.0] * len(prompts)}
    refused(r"rewards\.low.*the same reward, 1", rewards=constant)
    refused(r"rewards\.low.*expected a reward", rewards={**REWARDS, "low": 3})
    wrong = {**REWARDS, "low": lambda prompts, completions: [float("nan")] * len(prompts)}
    refused(r"rewards\.low.*finite", rewards=wrong)
    with pytest.raises(InputError, match="'kl'"):
        RLConfig(kl=-1)
    with pytest.raises(InputError, match="'samples'"):
        RLConfig(samples=1)


def test_another_sampler_is_another_run(tmp_path, monkeypatch):
    monkeypatch.setattr(rl_rounds, "reinforce", lambda *rest, **more: rest[2](["p"] * 8, ["a"] * 8))
    monkeypatch.setattr(VLLMSampling, "require", lambda self: None)
    fit = partial(fit_rl, PROMPTS[:8], rewards=REWARDS, weighting=Fixed(WEIGHTS))
    fit(run(tmp_path / "out"), config(rounds=1))
    with pytest.raises(InputError, match=r"config\.vllm was None, is 'colocate'"):
        fit(run(tmp_path / "out"), config(rounds=1), vllm=VLLMSampling("colocate"))


def test_a_policy_gradient_leaves_the_users_random_states_alone(tmp_path):
    # A package that TRL imports draws from Python's.
    importlib.import_module("rich.style")
    before = drawn()
    fit_rl(PROMPTS[:8], run(tmp_path), config(rounds=1), rewards=REWARDS, weighting=Fixed(WEIGHTS))
    assert drawn() == before


def test_a_tail_and_no_divergence(tmp_path):
    fit = partial(fit_rl, PROMPTS[:8], rewards=REWARDS, weighting=Fixed(WEIGHTS))
    fit(run(tmp_path / "out"), config(rounds=1, kl=0.0, tail=Tail(0.25, 1.0)))
    card = load_card(tmp_path / "out")
    assert card.config["tail"] == {"low": 0.25, "high": 1.0, "omega": 0.5}
    assert (tmp_path / "out" / "trunk.safetensors").exists()


def test_another_reward_is_another_run(tmp_path):
    def fit(reward):
        return fit_rl(
            PROMPTS, run(tmp_path), config(rounds=1), rewards={"letters": reward, "low": low},
            weighting=Fixed(WEIGHTS),
        )  # fmt: skip

    fit(letters)
    others = [lambda prompts, texts: [len(text) for text in texts], partial(letters, None)]
    for other in others:
        with pytest.raises(InputError, match=r"config\.rewards\.letters\.digest was '\w+', is '\w+'"):
            fit(other)
    assert load_card(tmp_path).data["rewards"]["low"]["source"] == "low"


def test_providers_of_weights_are_asked_about_messages(tmp_path):
    """What the chat template of the policy made of them is read as text by a provider, its tokens quoted."""

    class Provider:
        objectives = ("letters", "low")
        asked: ClassVar = []

        def suggest(self, prompts):
            self.asked += prompts
            return [{"letters": 0.5, "low": 0.5} for _ in prompts]

    said = [[{"role": "user", "content": f"Say {i}"}] for i in range(6)]
    prompts = pl.load_prompts([{"prompt": one} for one in said], template="chat", model="tiny-random")
    read: list[str] = []

    def own(texts):
        read.extend(texts)
        return [{"letters": 0.5, "low": 0.5} for _ in texts]

    for name, suggest in (("provider", Provider().suggest), ("own", own)):
        weighting = pl.learn.Suggested(suggest, ("letters", "low"))
        one = dataclasses.replace(run(tmp_path / name, lora_rank=2), template="chat")
        fit_rl(prompts, one, config(rounds=1, prompts=4), rewards=REWARDS, weighting=weighting)
    assert Provider.asked
    assert all(one in said for one in Provider.asked)
    assert read
    assert all(text.startswith("<|im_start|>user\nSay ") for text in read)
