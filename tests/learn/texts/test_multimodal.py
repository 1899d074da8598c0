"""Multimodal models, of which the text part is learned and mixed."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft_adapters import ids, save_random
from transformers import AutoModelForImageTextToText, Gemma3Config, SmolVLMConfig

import pluralign as pl
from pluralign.lm.adapter_check import check_adapter
from pluralign.lm.tiny import make_tiny_tokenizer

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]
TEXT = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 2,
    "bos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 4,
}  # fmt: skip
# Their text parts have different names.
CONFIGS = {
    "gemma3": lambda: Gemma3Config(text_config=TEXT, vision_config=VISION, mm_tokens_per_image=4),
    "smolvlm": lambda: SmolVLMConfig(text_config={"model_type": "llama", **TEXT}, vision_config=VISION),
}


@pytest.fixture(params=CONFIGS)
def model(request, tmp_path):
    torch.manual_seed(0)
    made = AutoModelForImageTextToText.from_config(CONFIGS[request.param](), dtype=torch.float32)
    for weight in made.parameters():
        if weight.dim() >= 2:
            torch.nn.init.normal_(weight, std=0.15)
    made.save_pretrained(tmp_path / "model")
    make_tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def by_peft(model, adapter):
    fresh = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(fresh, adapter).eval()


def require_mixed(model, policies, adapters):
    """The policies share the model, and each and their mixture are what transformers and PEFT compute."""
    mix = pl.load_policies(str(model), policies, dtype="float32", template="dialogue")
    assert mix.shared
    weights = [{"a": 1.0}, {"b": 1.0}, {"a": 0.5, "b": 0.5}]
    found = pl.log_likelihoods(mix, ["Say 1:"], [" yes"], weights=weights).ravel()
    row, start = [*ids("Say 1:"), *ids(" yes")], len(ids("Say 1:"))
    with torch.inference_mode():
        a, b = (
            by_peft(model, one)(input_ids=torch.tensor([row])).logits[0].log_softmax(-1) for one in adapters
        )
    for value, logs in zip(found, (a, b, ((a + b) / 2).log_softmax(-1)), strict=True):
        expected = sum(float(logs[i - 1, row[i]]) for i in range(start, len(row)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_learned_policies_change_the_text_part_alone_and_share_the_model(model, tmp_path):
    for name, words in {"a": (" yes", " no"), "b": (" no", " yes")}.items():
        rows = [{"prompt": f"Say {i}:", "chosen": words[0], "rejected": words[1]} for i in range(4)]
        training = pl.Training(epochs=4, learning_rate=1e-2, lora_rank=2, max_length=64)
        pairs = pl.load_pairs(rows, objective=name, split="train")
        pl.fit_policy(pairs, model=str(model), training=training, out=tmp_path / name)
        layers = check_adapter(tmp_path / name / "adapter").layers
        assert layers
        assert not [layer for layer in layers if "vision" in layer or "connector" in layer]
    require_mixed(
        model,
        {name: tmp_path / name for name in "ab"},
        [tmp_path / name / "adapter" for name in "ab"],
    )


def test_adapters_that_change_other_parts_too_share_the_model(model, tmp_path):
    for seed, name in enumerate("ab"):
        config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
        fresh = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32)
        save_random(get_peft_model(fresh, config), tmp_path / name, seed)
        assert [layer for layer in check_adapter(tmp_path / name).layers if "vision" in layer]
    folders = {name: tmp_path / name for name in "ab"}
    require_mixed(model, folders, list(folders.values()))
