"""Adapters of every kind next to a plain one and the model itself: each equal to PEFT's own model."""

import pytest
import torch
from peft import (
    AdaLoraConfig,
    BeftConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    OFTConfig,
    TrainableTokensConfig,
    VeraConfig,
)
from peft_adapters import CONFIGS, by_peft, greedy, ids, lora, make_adapter, save_model

from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.steer.policies import load_policies

# PEFT warns of what training should heed, and asks transformers for an attribute that was renamed.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]

TEXTS = ["hello there", "a", "what is it that you want?"]
HEAD, EMBEDDING, BOTH = ["q_proj", "lm_head"], ["q_proj", "embed_tokens"], ["embed_tokens", "lm_head"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
PLAIN = {
    "linear": ("tied", lora()),
    "untied": ("untied", lora()),
    "patterns": (
        "tied",
        lora(
            rank_pattern={"q_proj": 8, "layers.1.mlp.up_proj": 2},
            alpha_pattern={"o_proj": 32},
            use_rslora=True,
        ),
    ),
    "one layer": ("tied", lora(["q_proj"], layers_to_transform=[1])),
    "regular expression": ("tied", lora(r".*\.(q|up)_proj")),
    "gaussian": ("tied", lora(init_lora_weights="gaussian")),
    "orthogonal": ("tied", lora(init_lora_weights="orthogonal")),
    "mica": ("tied", lora(init_lora_weights="mica")),
    "no biases to learn": ("tied", lora(bias="lora_only")),
    "head of a tied model": ("tied", lora(HEAD)),
    "head alone": ("tied", lora(["lm_head"])),
    "head": ("untied", lora(HEAD)),
    "flattened tokens": ("opt", lora()),
    "convolutions of width 1": ("gpt2", lora(fan_in_fan_out=True)),
    "attention of experts": ("mixtral", lora(["q_proj", "o_proj"])),
}
OWN = {
    "pissa": ("tied", lora(init_lora_weights="pissa")),
    "pissa, scaled": ("tied", lora(init_lora_weights="pissa", use_rslora=True, lora_alpha=8)),
    "olora": ("tied", lora(init_lora_weights="olora")),
    "biases of the layers": ("biases", lora(bias="lora_only")),
    "all biases": ("biases", lora(bias="all")),
    "all biases and norms": ("gpt2", lora(["c_attn"], bias="all", fan_in_fan_out=True)),
    "dora": ("tied", lora(use_dora=True)),
    "biases of the adapter": ("biases", lora(["q_proj", "v_proj"], lora_bias=True)),
    "biases of the adapter alone": ("tied", lora(lora_bias=True)),
    "embedding of a tied model": ("tied", lora(EMBEDDING)),
    "embedding": ("untied", lora(EMBEDDING)),
    "embedding and head": ("tied", lora(BOTH)),
    "embedding and head, tied": ("tied", lora(BOTH, ensure_weight_tying=True)),
    "saved head of a tied model": ("tied", lora(modules_to_save=["lm_head"])),
    "saved embedding": ("tied", lora(modules_to_save=["embed_tokens"])),
    "saved both": ("tied", lora(modules_to_save=BOTH)),
    "saved both, tied": ("tied", lora(modules_to_save=BOTH, ensure_weight_tying=True)),
    "saved norms": ("untied", lora(modules_to_save=["norm"])),
    "tokens": ("tied", lora(trainable_token_indices=[75, 90])),
    "tokens, untied": ("untied", lora(trainable_token_indices={"embed_tokens": [75], "lm_head": [90]})),
    "tokens of a tied model": ("tied", lora(trainable_token_indices={"embed_tokens": [75], "lm_head": [90]})),
    "experts": ("mixtral", lora()),
    "other experts": ("qwen3-moe", lora()),
    "experts' parameters": ("qwen3-moe", lora(["q_proj"], target_parameters=EXPERTS)),
    "singular values": ("tied", lora(kasa_config={})),
    "ia3": (
        "tied",
        IA3Config(
            task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
        ),
    ),
    "vera": ("tied", VeraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], r=4)),
    "loha": ("tied", LoHaConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], r=4)),
    "oft": ("tied", OFTConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], oft_block_size=4, r=0)),
    "adalora": (
        "tied",
        AdaLoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], init_r=4, target_r=2, total_step=9),
    ),
    "norms": ("tied", LNTuningConfig(task_type="CAUSAL_LM")),
    "other tokens": ("tied", TrainableTokensConfig(task_type="CAUSAL_LM", token_indices=[75, 90])),
    "other biases": ("tied", BeftConfig(task_type="CAUSAL_LM", target_modules=["v_proj"])),
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of each tiny model, and of a plain adapter of it."""
    place = tmp_path_factory.mktemp("models")
    for name, config in CONFIGS.items():
        save_model(config, place / name)
        plain = lora(["c_attn"], fan_in_fan_out=True) if name == "gpt2" else lora(["q_proj"])
        make_adapter(place / name, plain, place / f"{name}-plain", seed=3)
    return place


@torch.inference_mode()
def next_logs(model, tokens):
    return model(input_ids=torch.tensor([tokens])).logits[0, -1].log_softmax(-1)


def check_policies(mix, references):
    """Every policy's distributions, now and after kept keys; mixtures by hand; one-hot greedy texts."""
    rows = mix.rows
    entries = [(i, policy, ids(text)) for i, text in enumerate(TEXTS) for policy in range(len(rows.names))]
    found = rows.admit(entries).logits().log_softmax(-1)
    for (_, policy, tokens), logs in zip(entries, found, strict=True):
        torch.testing.assert_close(
            logs, next_logs(references[rows.names[policy]], tokens), atol=1e-5, rtol=1e-5
        )
    for token in (75, 90):
        found = rows.step(dict.fromkeys(range(len(TEXTS)), token)).logits().log_softmax(-1)
    for (request, policy), logs in zip(rows.order, found, strict=True):
        tokens = [*ids(TEXTS[request]), 75, 90]
        torch.testing.assert_close(
            logs, next_logs(references[rows.names[policy]], tokens), atol=1e-5, rtol=1e-5
        )
    rows.release(set(range(len(TEXTS))))
    for name, model in references.items():
        for text in TEXTS:
            expected = greedy(model, text)
            assert mix.generate(text, weights={name: 1.0}, max_new_tokens=8, temperature=0.0) == expected
    share = 1 / len(references)
    text = mix.generate(TEXTS[0], weights=dict.fromkeys(references, share), max_new_tokens=8, temperature=0.0)
    assert text == mixed_by_hand(list(references.values()), TEXTS[0], 8)


def mixed_by_hand(models, text, count):
    path, drawn = ids(text), []
    for _ in range(count):
        token = int(torch.stack([next_logs(model, path) for model in models]).mean(0).argmax())
        drawn.append(token)
        if token == 2:
            break
        path.append(token)
    return make_tiny_tokenizer().decode(drawn, skip_special_tokens=True)


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_adapters_share_the_model(models, tmp_path, kind):
    name, config = PLAIN[kind]
    model, plain = models / name, models / f"{name}-plain"
    made = make_adapter(model, config, tmp_path / "own")
    mix = load_policies(
        str(model), {"plain": plain, "own": tmp_path / "own", "model": model}, dtype="float32"
    )
    assert mix.shared
    references = {
        "plain": by_peft(model, plain),
        "own": by_peft(model, tmp_path / "own"),
        "model": by_peft(model),
    }
    torch.testing.assert_close(next_logs(made, ids(TEXTS[0])), next_logs(references["own"], ids(TEXTS[0])))
    check_policies(mix, references)


@pytest.mark.parametrize("kind", OWN)
def test_what_is_more_than_a_plain_adapter_has_a_model_of_its_own(models, tmp_path, kind, caplog):
    name, config = OWN[kind]
    model, plain = models / name, models / f"{name}-plain"
    made = make_adapter(model, config, tmp_path / "own")
    mix = load_policies(
        str(model), {"plain": plain, "own": tmp_path / "own", "model": model}, dtype="float32"
    )
    assert not mix.shared
    assert "million weights (own: it" in caplog.text
    references = {
        "plain": by_peft(model, plain),
        "own": by_peft(model, tmp_path / "own"),
        "model": by_peft(model),
    }
    torch.testing.assert_close(
        next_logs(made, ids(TEXTS[0])), next_logs(references["own"], ids(TEXTS[0])), atol=1e-5, rtol=1e-5
    )
    check_policies(mix, references)
