"""Adapters and heads on trunks in bfloat16 or in 4 bits: what is trained is what PEFT and TRL train."""

import json
import logging
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM
from trl.trainer.dpo_config import DPOConfig as TRLDPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

import pluralign as pl
from pluralign.core import InputError
from pluralign.data.load import load_pairs
from pluralign.folders import backbones
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts import session
from pluralign.learn.texts.policies import DPOConfig, fit_dpo
from pluralign.learn.texts.precision import trunk_dtype
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import probe_logits
from pluralign.lm.backbone import load_backbone
from pluralign.lm.quantized import is_quantized, quantize
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.rewards.export import export_folder

TEXTS = {
    "prompt": ["Say yes:", "Q", "A longer prompt, of two sentences. It ends here:", "Count:"],
    "chosen": [" yes", " a long answer to it.", " good", " 1 2 3 4"],
    "rejected": [" no, never!", " no", " a bad one, and long", " 1 2 3 5"],
}
ROWS = [dict(zip(TEXTS, row, strict=True)) for row in zip(*TEXTS.values(), strict=True)]
needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
BFLOAT16 = {"dtype": "bfloat16"}
FOUR_BITS = {"load_in": "4bit"}
FROZEN = [BFLOAT16, pytest.param(FOUR_BITS, marks=needs_bitsandbytes)]


class _Ready(Exception):
    """Raised where training would begin."""


@pytest.fixture
def base(tmp_path):
    """A folder with a tiny model, stored in bfloat16."""
    folder = tmp_path / "base"
    make_tiny_model(0).to(torch.bfloat16).save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def dpo_loss(tmp_path, base, monkeypatch):
    """The loss that DPO would train on these texts, with an adapter that is not zero."""

    def stop(loss, phase):
        raise _Ready(loss)

    monkeypatch.setattr(session, "train_phase", stop)

    def make(**options):
        training = Training(lora_rank=4, lora_alpha=8, **options)
        pairs = load_pairs(ROWS, "good", split="train")
        with pytest.raises(_Ready) as ready:
            fit_dpo(pairs, Run(str(base), tmp_path / "run", training), DPOConfig(beta=0.3))
        loss = ready.value.args[0]
        generator = torch.Generator().manual_seed(0)
        for name, value in sorted(_adapter(loss.trunk.model).items()):
            if "lora_B" in name:
                torch.nn.init.normal_(value, generator=generator)
        return loss

    return make


def _adapter(model):
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _trl_s(tmp_path, trunk, ours):
    """TRL's trainer on PEFT's model of a trunk, with the weights of our adapter."""
    settings = {
        "output_dir": str(tmp_path / "trl"), "report_to": [], "use_cpu": True, "bf16": False,
        "per_device_train_batch_size": 4, "activation_checkpointing": False, "gradient_checkpointing": False,
    }  # fmt: skip
    trainer = DPOTrainer(
        model=trunk,
        args=TRLDPOConfig(beta=0.3, **settings),
        train_dataset=Dataset.from_dict(TEXTS),
        processing_class=make_tiny_tokenizer(),
        peft_config=LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear"),
    )
    theirs = _adapter(trainer.model)
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        # TRL rounds adapters of trunks in 4 bits to bfloat16.
        value.data = ours[name].detach().clone()
    return trainer, trainer.model


def _compare(loss, trainer, model, mixed, rtol, atol):
    ours = sum(loss(part)["loss"] for part in loss.parts(torch.arange(4)))
    weights = _adapter(loss.trunk.model)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        theirs = trainer.compute_loss(model, trainer.data_collator(list(trainer.train_dataset)))
    assert abs(ours.item() - 0.6931) > 0.02
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0, atol=atol)
    named = _adapter(model)
    expected = torch.autograd.grad(theirs, list(named.values()))
    found = torch.autograd.grad(ours, [weights[name] for name in named])
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm()) <= rtol * float(b.norm())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_an_adapter_on_a_trunk_in_bfloat16_is_trl_s(tmp_path, base, dpo_loss):
    loss = dpo_loss(dtype="bfloat16", bf16=False)
    weights = _adapter(loss.trunk.model)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    frozen = [value for name, value in loss.trunk.model.named_parameters() if name not in weights]
    assert {value.dtype for value in frozen} == {torch.bfloat16}
    trunk = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    _compare(loss, *_trl_s(tmp_path, trunk, weights), False, rtol=0.1, atol=5e-3)


@needs_bitsandbytes
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_an_adapter_on_a_trunk_in_4_bits_is_trl_s(tmp_path, base, dpo_loss, monkeypatch):
    # The layout for processors with AVX512-BF16 has blocks of 64, wider than this model's layers.
    monkeypatch.setattr(
        import_module("bitsandbytes.nn.modules"), "has_avx512bf16", lambda: False, raising=False
    )
    loss = dpo_loss(load_in="4bit", dtype="float32", bf16=False)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip
    trunk = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, quantization_config=config)
    _compare(loss, *_trl_s(tmp_path, trunk, _adapter(loss.trunk.model)), False, rtol=1e-3, atol=1e-4)


@needs_bitsandbytes
def test_weights_in_4_bits_take_little_more_than_a_quarter_of_bfloat16():
    config = LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=512, num_hidden_layers=1, num_attention_heads=4
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)

    def size():
        return sum(value.nbytes for value in model.model.layers.state_dict().values())

    before = size()
    quantize(model, torch.device("cpu"))
    assert size() < 0.3 * before


@needs_bitsandbytes
def test_a_fingerprint_tells_4_bits_from_the_weights_that_were_quantised(base):
    whole, quantized = (
        load_backbone(str(base), dtype=torch.bfloat16, load_in=kind) for kind in (None, "4bit")
    )
    assert quantized.fingerprint == whole.fingerprint + "-4bit"
    assert quantized.source == whole.fingerprint


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Policies and rewards that were trained on frozen trunks in fewer bits than float32."""
    root = tmp_path_factory.mktemp("trained")
    pairs = load_pairs([ROWS[i % 4] | {"prompt": f"{i}:"} for i in range(8)], "good", split="train")

    def make(kind, options):
        out = root / f"{kind}-{'-'.join(options.values())}"
        if not out.exists():
            fit = {"policy": pl.fit_policy, "reward": pl.fit_reward}[kind]
            training = Training(batch_size=4, learning_rate=0.01, lora_rank=4, **options)
            return out, fit(pairs, model="tiny-random", training=training, out=out)
        return out, None

    return make


@pytest.mark.parametrize("options", FROZEN)
def test_a_reward_on_a_frozen_trunk_is_loaded_as_it_was_trained(folders, options, tmp_path):
    out, trained = folders("reward", options)
    described = json.loads((out / "card.json").read_text())["backbone"]
    whole = load_backbone("tiny-random", dtype=getattr(torch, options.get("dtype", "float32")))
    assert described["fingerprint"] == whole.fingerprint
    assert described["dtype"] == options.get("dtype", "float32")
    assert described.get("load_in") == options.get("load_in")
    loaded = pl.load_reward(out)
    assert is_quantized(loaded.backbone.model) == ("load_in" in options)
    prompts, texts = ["Say:", "Say:"], [" yes", " no"]
    scores = loaded.score(prompts, texts)
    assert abs(scores - trained.score(prompts, texts)).max() < (1e-5 if "load_in" in options else 2e-2)
    classifier = tmp_path / "classifier"
    export_folder(out, classifier)
    assert abs(pl.load_reward(classifier).score(prompts, texts) - scores).max() < 1e-4


@pytest.mark.parametrize("options", FROZEN)
def test_a_head_on_a_frozen_trunk_is_trained_and_exported(options, tmp_path):
    pairs = load_pairs(ROWS, "good", split="train")
    training = Training(batch_size=4, learning_rate=0.01, layers=0, **options)
    trained = pl.fit_reward(pairs, model="tiny-random", training=training, out=tmp_path / "head")
    assert trained.head.mean.weight.dtype == torch.float32
    scores = pl.load_reward(tmp_path / "head").score(["Say:"], [" yes"])
    export_folder(tmp_path / "head", tmp_path / "classifier")
    assert abs(pl.load_reward(tmp_path / "classifier").score(["Say:"], [" yes"]) - scores).max() < 1e-4


@pytest.mark.parametrize("options", FROZEN)
def test_a_policy_on_a_frozen_trunk_is_mixed_and_exported(folders, options, tmp_path, caplog):
    out, _ = folders("policy", options)
    mix = pl.load_policies("tiny-random", a=out, plain="tiny-random", dtype="float32")
    assert mix.shared
    assert is_quantized(mix.rows.backbone.model) == ("load_in" in options)
    weights = {"a": 0.5, "plain": 0.5}
    assert mix.generate("Say:", weights=weights, max_new_tokens=4, temperature=0) is not None
    assert not caplog.records
    export_folder(out, tmp_path / "merged")
    assert ("dequantised" in caplog.text) == ("load_in" in options)
    merged = load_backbone(str(tmp_path / "merged"), dtype=torch.float32)
    expected = probe_logits(load_language_policy(out).model)
    torch.testing.assert_close(probe_logits(merged.model), expected, rtol=0, atol=1e-4)


@needs_bitsandbytes
def test_a_folder_of_4_bits_is_never_used_on_another_trunk_in_silence(folders, monkeypatch, caplog):
    out, _ = folders("policy", FOUR_BITS)
    exact = load_language_policy(out)
    assert not caplog.records
    whole = load_language_policy(out, quantized=False)
    assert "trained on a trunk in 4 bits" in caplog.text
    assert not is_quantized(whole.model)
    gap = float((probe_logits(whole.model) - probe_logits(exact.model)).abs().max())
    assert gap > 1e-3
    caplog.clear()
    monkeypatch.setattr(backbones, "find_spec", lambda name: None)
    without = load_language_policy(out)
    assert "install bitsandbytes" in caplog.text
    assert not is_quantized(without.model)
    torch.testing.assert_close(probe_logits(without.model), probe_logits(whole.model))


@needs_bitsandbytes
def test_policies_in_4_bits_and_others_share_the_unquantised_trunk_and_say_so(folders, caplog):
    quantized, plain = folders("policy", FOUR_BITS)[0], folders("policy", {"dtype": "float32"})[0]
    caplog.set_level(logging.WARNING)
    mix = pl.load_policies("tiny-random", a=quantized, b=plain, dtype="float32")
    assert mix.shared
    assert not is_quantized(mix.rows.backbone.model)
    assert "trained on a trunk in 4 bits" in caplog.text


@pytest.mark.parametrize("options", FROZEN)
def test_trained_weights_are_not_in_fewer_bits(options):
    for more in ({}, {"layers": 1}):
        with pytest.raises(InputError, match="weights that are trained are in float32"):
            Training(**options, **more)
    assert trunk_dtype(Training(**options, layers=0)) in (torch.float32, torch.bfloat16)


def test_4_bits_need_their_package(monkeypatch):
    monkeypatch.setattr("pluralign.lm.quantized.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'pluralign\[quantized\]'"):
        load_backbone("tiny-random", load_in="4bit")
