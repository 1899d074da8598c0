"""Tiny random models of several kinds, adapters that PEFT makes of them, and what PEFT makes of both."""

import copy

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3MoeConfig,
)

from pluralign.lm.tiny import make_tiny_tokenizer

SIZE = {
    "vocab_size": 259, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "initializer_range": 0.2,
}  # fmt: skip
CONFIGS = {
    "tied": LlamaConfig(**SIZE, tie_word_embeddings=True),
    "untied": LlamaConfig(**SIZE, tie_word_embeddings=False),
    "biases": Qwen2Config(**SIZE),
    "mixtral": MixtralConfig(**SIZE, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    "qwen3-moe": Qwen3MoeConfig(
        **SIZE, head_dim=8, moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2
    ),
    "opt": OPTConfig(
        vocab_size=259, hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=256, init_std=0.2, dropout=0.0,
    ),
    "gpt2": GPT2Config(
        vocab_size=259, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2,
        attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    ),
}  # fmt: skip


def lora(targets="all-linear", **more):
    return LoraConfig(
        **{"r": 4, "lora_alpha": 4, "target_modules": targets, "task_type": "CAUSAL_LM", **more}
    )


def save_model(config, folder, seed=0):
    """Write a model with random weights and the tiny tokenizer; its folder is returned."""
    config = copy.deepcopy(config)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, 2, 0
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.2)
    model.save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


def make_adapter(model, config, out, seed=1):
    """Save an adapter with random weights; its model in memory is returned."""
    torch.manual_seed(seed)
    return save_random(get_peft_model(by_peft(model), copy.deepcopy(config)), out, seed)


def save_random(adapted, out, seed=1):
    """Save an adapter once random numbers were added to all that it learns; the adapted model is returned."""
    torch.manual_seed(seed)
    for _, value in adapted.named_parameters():
        if value.requires_grad:
            with torch.no_grad():
                value.add_(0.2 * torch.randn_like(value))
    adapted.eval().save_pretrained(out)
    return adapted


def by_peft(model, adapter=None):
    """The model as PEFT loads it, on a fresh trunk."""
    fresh = AutoModelForCausalLM.from_pretrained(model).eval()
    return fresh if adapter is None else PeftModel.from_pretrained(fresh, adapter).eval()


def ids(text):
    return make_tiny_tokenizer()(text)["input_ids"]


def greedy(model, text, count=8):
    """The text that transformers writes."""
    tokens = torch.tensor([ids(text)])
    whole = model.generate(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    return make_tiny_tokenizer().decode(whole[0, tokens.shape[1] :], skip_special_tokens=True)
