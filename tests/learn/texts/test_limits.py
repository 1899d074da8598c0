"""A model's positions bound all that reads tokens; trunks that end in a projection are read after it."""

import logging

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import pluralign as pl
from pluralign.core import Decision, InputError
from pluralign.folders.card import load_card
from pluralign.learn.texts.ava import fit_ava_p
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.spin import SPINConfig, fit_spin
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.value import fit_value
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.language_model import LanguageModel
from pluralign.lm.passes import trunk_of
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.options.features import FeatureStore
from pluralign.rewards.export import export_folder
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.model_rows import ModelRows

CONTEXT = 64
SIZES = {"vocab_size": 259, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2}
OPT = {**SIZES, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": CONTEXT}
KINDS = {
    "llama": (
        "llama",
        {**SIZES, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT},
    ),
    "gpt2": (
        "gpt2",
        {"vocab_size": 259, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},
    ),
    "opt": ("opt", OPT),
    "opt-projected": ("opt", {**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "bart": (
        "bart",
        {
            "vocab_size": 259, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64, "max_position_embeddings": CONTEXT, "decoder_start_token_id": 2,
        },
    ),
}  # fmt: skip
CAUSAL = [name for name in KINDS if name != "bart"]
LONG = "word " * 40
ROWS = [
    *({"prompt": f"{LONG}say {i}:", "chosen": " yes", "rejected": " no"} for i in range(5)),
    {"prompt": "short", "chosen": " yes" * 40, "rejected": " no" * 40},
]
TRAINING = Training(learning_rate=1e-3, bf16=False, lora_rank=2)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of tiny models with 64 positions."""
    root = tmp_path_factory.mktemp("models")
    for name, (kind, settings) in KINDS.items():
        config = CONFIG_MAPPING[kind](**settings, pad_token_id=0, bos_token_id=None, eos_token_id=2)
        torch.manual_seed(0)
        auto = AutoModelForSeq2SeqLM if kind == "bart" else AutoModelForCausalLM
        model = auto.from_config(config, dtype=torch.float32)
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn(value.shape))
        model.save_pretrained(root / name)
        make_tiny_tokenizer().save_pretrained(root / name)
    return root


def _pairs():
    return pl.load_pairs(ROWS, "o", "train")


@pytest.mark.parametrize("kind", KINDS)
def test_learners_stay_within_the_positions(kind, models, tmp_path, caplog):
    model = str(models / kind)
    with caplog.at_level(logging.WARNING):
        reward = pl.fit_reward(_pairs(), model=model, training=TRAINING, out=tmp_path / "r")
    said = [record.message for record in caplog.records if "context of 64 tokens" in record.message]
    assert len(said) == (kind != "bart")
    data = load_card(tmp_path / "r").data
    assert (data["cut_prompts"], data["cut_completions"]) == ((10, 2) if kind == "bart" else (12, 2))
    pl.fit_policy(_pairs(), model=model, training=TRAINING, out=tmp_path / "p")
    prompt = ROWS[0]["prompt"]
    # A prompt counts its own tokens and those of its completion with their end of text.
    kept = CONTEXT - 1 if kind == "bart" else CONTEXT - len(" yes") - 1
    for scorer in (reward, pl.load_reward(f"closed-form:{tmp_path / 'p'}")):
        found = scorer.score([prompt, prompt[-kept:]], [" yes"] * 2)
        assert np.isfinite(found).all()
        assert found[0] == pytest.approx(found[1], abs=1e-6)
        assert scorer.counts["cut_prompts"] == 1
        assert np.isfinite(scorer.score(["short"], [" yes" * 40])).all()


@pytest.mark.parametrize("kind", ["gpt2", "opt-projected"])
def test_all_learners_of_texts_stay_within_the_positions(kind, models, tmp_path):
    model = str(models / kind)
    run = [Run(model, tmp_path / name, TRAINING) for name in ("sft", "spin", "ava", "value")]
    demonstrations = pl.load_demonstrations(ROWS, "o", "train")
    fit_sft(demonstrations, run[0])
    fit_spin(demonstrations, run[1], SPINConfig(iterations=1, max_new_tokens=8))
    assert np.isfinite(fit_ava_p(_pairs(), run[2]).score(["short"], [" yes"])).all()
    scored = [
        {"prompt": row["prompt"], "completion": row["chosen"], "reward": i % 3} for i, row in enumerate(ROWS)
    ]
    values = fit_value(pl.load_scored(scored, "o", "train"), run[3])
    assert all(np.isfinite(v).all() for own in values.values([Decision(LONG, (" a", " b"))]) for v in own)


@pytest.mark.parametrize("kind", CAUSAL)
def test_likelihoods_samples_and_features_stay_within_the_positions(kind, models):
    backbone = load_backbone(str(models / kind), dtype=torch.float32)
    language_model = LanguageModel(backbone)
    (found,) = language_model.option_log_likelihoods([Decision(LONG, ("Go", "Stay"))])
    assert np.isfinite(found.log_likelihoods).all()
    assert np.isfinite(language_model.answer_log_probs([LONG, "a"], ["A", "B"])).all()
    with pytest.raises(InputError, match="no room for the prompt in a context of 64"):
        language_model.option_log_likelihoods([Decision("a", (LONG, "Stay"))])
    drawn = draw_samples(backbone, [LONG, "a"], 2, Decoding(8), seed=0, label="")
    assert [len(own) for own in drawn.values()] == [2, 2]
    with pytest.raises(InputError, match="context of 64"):
        draw_samples(backbone, ["a"], 2, Decoding(CONTEXT), seed=0, label="")
    store = FeatureStore(backbone)
    (features,) = store.get([Decision(LONG, ("Go", "Stay"))])
    assert features.features.shape == (2, store.dimension)
    assert store.cut_tokens > 0


def test_mixtures_stay_within_the_shortest_context(models, tmp_path):
    longer = {**OPT, "max_position_embeddings": 2 * CONTEXT}
    config = CONFIG_MAPPING["opt"](**longer, pad_token_id=0, bos_token_id=None, eos_token_id=2)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "longer")
    make_tiny_tokenizer().save_pretrained(tmp_path / "longer")
    mix = pl.load_policies(str(tmp_path / "longer"), a=tmp_path / "longer", b=models / "opt", dtype="float32")
    assert (type(mix.rows), mix.context) == (ModelRows, CONTEXT)
    with pytest.raises(InputError, match="exceed the context of 64"):
        mix.generate("a" * 60, weights={"a": 0.5, "b": 0.5}, max_new_tokens=8)
    assert mix.generate("a" * 50, weights={"a": 0.5, "b": 0.5}, max_new_tokens=8) is not None


def test_encoder_decoders_do_not_write(models):
    backbone = load_backbone(str(models / "bart"), dtype=torch.float32)
    with pytest.raises(InputError, match="is an encoder-decoder, which pluralign scores with"):
        AdapterRows(backbone, {"a": None})
    with pytest.raises(InputError, match="is an encoder-decoder, which pluralign scores with"):
        pl.load_policies(str(models / "bart"), a=str(models / "bart"))


def test_a_projection_after_the_layers_is_part_of_the_trunk(models, tmp_path):
    backbone = load_backbone(str(models / "opt-projected"), dtype=torch.float32)
    assert backbone.hidden_size == 16
    pairs = pl.load_pairs(
        [{"prompt": f"Say {i}:", "chosen": f" {i} yes", "rejected": " no"} for i in range(6)], "o", "train"
    )
    training = Training(learning_rate=1e-2, bf16=False, layers=1, epochs=3)
    reward = pl.fit_reward(pairs, model=backbone.name, training=training, out=tmp_path / "r")
    model, tokenizer = reward.backbone.model, reward.backbone.tokenizer
    texts = ["Say 1: 1 yes", "Say 1: no"]
    found = reward.score(["Say 1:"] * 2, [text[6:] for text in texts])
    for text, score in zip(texts, found, strict=True):
        ids = torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]])
        with torch.no_grad():
            expected = float(reward.head.mean(trunk_of(model)(ids).last_hidden_state[0, -1]))
        assert score == pytest.approx(expected, abs=1e-5)
    # What was learned is what was saved, the projection included.
    changed = reward.backbone.model.get_parameter("model.decoder.project_out.weight")
    assert not torch.equal(changed, backbone.model.get_parameter("model.decoder.project_out.weight"))
    assert export_folder(tmp_path / "r", tmp_path / "x") == "sequence classifier"
    np.testing.assert_allclose(
        pl.load_reward(tmp_path / "x").score(["Say 1:"] * 2, [text[6:] for text in texts]), found, atol=1e-5
    )
