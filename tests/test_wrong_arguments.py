"""A wrong argument of a public function is one error that names it, never a traceback of another kind."""

import dataclasses
import json
import math
from functools import partial

import pytest
import torch

import pluralign as pl
from pluralign.annotate.annotator import ComparisonSettings
from pluralign.elicit.many import infer_many
from pluralign.learn.texts.adversarial.loop import fit_adversarial
from pluralign.learn.texts.adversarial.rounds import AdversarialConfig
from pluralign.learn.texts.adversarial.vllm_sampling import VLLMSampling
from pluralign.learn.texts.ava import AVAConfig, fit_ava_d, fit_ava_p
from pluralign.learn.texts.awr import AWRConfig, fit_awr
from pluralign.learn.texts.ensemble import fit_ensemble
from pluralign.learn.texts.lipo import LiPOConfig, fit_lipo
from pluralign.learn.texts.modpo import Margin, MODPOConfig, fit_modpo
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.rewards import (
    BradleyTerryConfig,
    PreferenceTransformerConfig,
    fit_bradley_terry,
    fit_bt_variance,
    fit_preference_transformer,
)
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import SFTConfig, fit_sft
from pluralign.learn.texts.spin import SPINConfig, fit_spin
from pluralign.learn.texts.value import HLGauss, ValueConfig, fit_value
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.pair.ranked import rank_completions
from pluralign.rewards.heads import HeadShape
from pluralign.rewards.tqr import TQRShape

ROWS = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(4)]
WEIGHTS = {"a": 0.5, "b": 0.5}


@pytest.fixture(scope="module")
def pairs():
    return pl.load_pairs(ROWS, "o", "train")


@pytest.fixture(scope="module")
def mix():
    return pl.load_policies("tiny-random", a="tiny-random", b="tiny-random", dtype="float32")


@pytest.fixture(scope="module")
def reward(pairs):
    return pl.fit_reward(pairs, model="tiny-random", training=pl.Training(layers=0, bf16=False))


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "epochs": (0, "x", None, math.nan, math.inf),
        "batch_size": (0, 1.5, "x", None),
        "learning_rate": (-1, "x", None, math.nan),
        "warmup": (2, "x"),
        "lora_rank": (-1, 1.5, "x", None),
        "layers": (-1, 1.5, "x"),
        "max_length": (0, 1, "x", None),
        "token_budget": (0, "x"),
        "gradient_checkpointing": ("x", None, 2),
    }.items(),
)  # fmt: skip
def test_training(name, values):
    for value in values:
        with pytest.raises(pl.InputError, match=f"field '{name}'"):
            pl.Training(**{name: value})


@pytest.mark.parametrize("fit", [pl.fit_policy, pl.fit_reward])
def test_fitting(fit, pairs):
    for name, values in {
        "model": (None, 3, ["x"], ""), "out": (3, ""), "loss": (None, 3, "dpo"),
        "seed": (-1, "x", None, 2**70),
        "training": (3, "x"), "template": (3,),
    }.items():  # fmt: skip
        for value in values:
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                fit(pairs, **{"model": "tiny-random", name: value})
    for rows in (None, 3, [1], ROWS, [None]):
        with pytest.raises(pl.InputError, match=r"expected a (sequence|pair)"):
            fit(rows, model="tiny-random")


def test_loading():
    for load in (pl.load_pairs, pl.load_demonstrations, pl.load_scored, pl.load_prompts):
        for data in (None, 3, object(), {"train": 3}, [3], b"x"):
            with pytest.raises(pl.InputError):
                load(data)
    with pytest.raises(pl.InputError, match="field 'shares'"):
        pl.load_pairs(ROWS, shares=None)


def test_missing_and_unknown_arguments_name_the_function():
    for call, told in (
        (pl.load_pairs, r"^load_pairs\(\) missing .* 'data'"),
        (partial(pl.sweep, x=3), "^sweep"),
    ):
        with pytest.raises(TypeError, match=told):
            call()


def test_names_of_a_fixed_set():
    columns = {"values": ["a=a{}", "b=b{}"], "chosen": "c"}
    rows = [{"a1": 1, "a2": 2, "b1": 3, "b2": "", "c": 1}]
    make_game = pl.open_story("salt_ledger").make_game
    episodes = list(pl.roll_out(make_game, pl.UniformPolicy(), episodes=2, seed=0, objectives=[]))
    for name, value, call in (
        ("split", "valid", lambda: pl.load_pairs(ROWS, "o", "valid")),
        ("missing", "error", lambda: pl.load_choices(rows, missing="error", **columns)),
        ("anchor", "every", lambda: pl.make_comparisons(episodes, count=1, seed=0, anchor="every")),
        ("of", "option", lambda: ComparisonSettings(of="option")),
        ("prior", "others", lambda: infer_many([], prior="others")),
    ):
        with pytest.raises(pl.InputError, match=f"field '{name}'.*found '{value}'"):
            call()


def test_steering(mix):
    for prompts in (None, 3, [3], [None], b"x", [], "", {"prompt": "hi"}):
        with pytest.raises(pl.InputError):
            mix.generate(prompts, weights=WEIGHTS, max_new_tokens=2) or _refuse()
    for weights in (None, 3, "x", [3], lambda prompt: 3, {"a": math.nan, "b": 1}, {"c": 1}):
        with pytest.raises(pl.InputError):
            mix.generate("hi", weights=weights, max_new_tokens=2)
    for name, values in {
        "max_new_tokens": (0, 1.5, "x", None), "temperature": (-1, "x", None, math.nan, math.inf),
        "top_p": (0, 2, "x"), "top_k": (-1, 1.5, "x"), "stop": (3, None, [3], ""), "seed": ("x", None, 1.5),
    }.items():  # fmt: skip
        for value in values:
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                mix.generate("hi", weights=WEIGHTS, **{"max_new_tokens": 2, name: value})
    # Nothing of them is left behind. A generator is as good as a list.
    assert len(mix.generate((text for text in ("hi", "ho")), weights=WEIGHTS, max_new_tokens=2)) == 2
    assert mix.generate("hi", weights=WEIGHTS, max_new_tokens=2) is not None
    for policies in (3, {"a": 3}, {"a": None}, {}):
        with pytest.raises(pl.InputError, match="field 'policies'"):
            pl.load_policies("tiny-random", policies)
    # A text is a folder of heads.
    with pytest.raises(pl.InputError, match="x: no such folder"):
        pl.load_policies("tiny-random", "x")


def _refuse():
    """An empty list of prompts has an empty list of answers."""
    raise pl.InputError("nothing to answer")


def test_scoring(reward, tmp_path):
    for given in ((None, None), (3, 3), ([3], ["b"]), (["a"], [3]), (["a"], [None]), (["a"], []), ("a", "b")):
        with pytest.raises(pl.InputError):
            reward.score(*given)
    for given in (("a", 3), (3, "a")):
        with pytest.raises(pl.InputError):
            reward.tokens(*given)
    for dtype in ("half", None, torch.int8):
        with pytest.raises(pl.InputError, match="field 'dtype'"):
            pl.load_reward("anything", dtype=dtype)


@pytest.mark.parametrize("fault", ["tokenizer", "end", "weights", "broken", "config", "type"])
def test_damaged_models(fault, tmp_path, pairs):
    make_tiny_model().save_pretrained(tmp_path)
    tokenizer = make_tiny_tokenizer()
    if fault == "end":
        tokenizer.eos_token = tokenizer.pad_token = None
    if fault != "tokenizer":
        tokenizer.save_pretrained(tmp_path)
    if fault == "weights":
        (tmp_path / "model.safetensors").unlink()
    if fault == "broken":
        (tmp_path / "model.safetensors").write_bytes(b"abc")
    if fault == "config":
        (tmp_path / "config.json").write_text("{not json")
    if fault == "type":
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "whatnot"}))
    with pytest.raises(pl.InputError):
        pl.fit_policy(pairs, model=str(tmp_path), training=pl.Training(lora_rank=2))
    with pytest.raises(pl.InputError):
        pl.load_reward(str(tmp_path))


def test_sweeps(mix, reward, tmp_path):
    rewards = {"a": reward, "b": reward}
    for name, values in {
        "policies": (None, 3, "x", [1]), "rewards": (None, 3, "x"), "steps": ("x", 1.5, None),
        "powers": (3, "x"), "samples": ("x", None), "max_new_tokens": ("x", 1.5), "temperature": ("x", None),
        "seed": (-1, "x", None), "folder": (3, ""), "limit": ("x", 0), "alternatives": (3, None),
    }.items():  # fmt: skip
        for value in values:
            arguments = {"policies": mix, "prompts": ["a", "b"], "rewards": rewards, name: value}
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                pl.sweep(**arguments)
    with pytest.raises(
        pl.InputError, match=r"field 'rewards\.b': expected a reward, found <.*FunctionReward"
    ):
        pl.sweep(mix, ["a", "b"], {"a": reward, "b": len})


DEMONSTRATIONS = [{"prompt": "Say a:", "completion": " a"}] * 3
SCORED = [{"prompt": "Say:", "completion": f" {i}", "reward": i} for i in range(3)]


def _learners(pairs, reward):
    """Trainers on texts that take a `Run`, with rows of the right kind and of a wrong one."""
    demonstrations = pl.load_demonstrations(DEMONSTRATIONS, "o", "train")
    scored = pl.load_scored(SCORED, "o", "train")
    for fit in (fit_dpo, fit_ava_p, fit_bradley_terry, fit_bt_variance, fit_preference_transformer):
        yield fit, pairs, demonstrations
    for fit in (fit_sft, fit_ava_d):
        yield fit, demonstrations, scored
    for fit in (fit_spin, fit_adversarial):
        yield fit, demonstrations, pairs
    yield fit_value, scored, pairs
    yield fit_awr, scored, pairs
    yield fit_lipo, rank_completions(scored, 2), scored
    mix = pl.SteeringWeights({"o": 0.5, "b": 0.5})
    yield partial(fit_modpo, margins={"b": Margin(reward)}, weights=mix), pairs, demonstrations


def test_trainers_on_texts(pairs, reward):
    run = Run("tiny-random", training=pl.Training(bf16=False))
    for fit, rows, others in _learners(pairs, reward):
        for wrong in (None, 3, "x", [1], [None], ROWS, [], others):
            with pytest.raises(pl.InputError, match=r"expected a|there is no|requires preference pairs"):
                fit(wrong, run)
        for wrong in (None, 3, "x", {}):
            with pytest.raises(pl.InputError, match="field 'run'"):
                fit(rows, wrong)
        for wrong in (3, "x", {}, run):
            with pytest.raises(pl.InputError, match="field 'config'"):
                fit(rows, run, wrong)
    mix = pl.SteeringWeights({"o": 0.5, "b": 0.5})
    for margins in (None, 3, {"b": 3}, {"b": None}):
        with pytest.raises(pl.InputError, match="field 'margins'"):
            fit_modpo(pairs, run, margins=margins, weights=mix)
    for weights in (None, 3, "o=1", {"o": 1.0}):
        with pytest.raises(pl.InputError, match="field 'weights'"):
            fit_modpo(pairs, run, margins={}, weights=weights)
    for name in ("negative", "expected_return"):
        for wrong in (3, "x", None):
            with pytest.raises(pl.InputError, match=f"field '{name}': expected a function"):
                fit_ava_p(pairs, run, **{name: wrong})


SETTINGS = (
    AVAConfig, AWRConfig, AdversarialConfig, BradleyTerryConfig, DPOConfig, HLGauss, HeadShape, LiPOConfig,
    MODPOConfig, PreferenceTransformerConfig, SFTConfig, SPINConfig, TQRShape, VLLMSampling, ValueConfig,
)  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_of_methods(settings):
    for field in dataclasses.fields(settings):
        for wrong in ("x!", math.nan, math.inf, [1], {}, b"x"):
            if field.name == "url" and wrong == "x!":
                continue
            with pytest.raises(pl.InputError, match=f"field '{field.name}'"):
                settings(**{field.name: wrong})


def test_ensembles(reward, tmp_path):
    rows = pl.load_demonstrations([{"prompt": f"Say {i}:", "completion": " a"} for i in range(3)], "o")
    for name, values in {
        "members": (None, 3, {}, {"a": reward}, [reward]), "out": (None, 3, ""), "combine": (3, "x", None),
        "limit": (0, -1, "x", 1.5),
    }.items():  # fmt: skip
        for value in values:
            arguments = {"members": {"a": reward, "b": reward}, "out": tmp_path / "out", name: value}
            with pytest.raises(pl.InputError, match=f"field '{name}'"):
                fit_ensemble(rows, **arguments)
    with pytest.raises(pl.InputError, match="row 1: expected a demonstration"):
        fit_ensemble([3], {"a": reward, "b": reward}, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
