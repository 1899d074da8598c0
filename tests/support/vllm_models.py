"""Models and adapters in folders, which vLLM and pluralign both load."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from pluralign.lm.adapters import add_lora, save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.tiny import make_tiny_tokenizer


def save_tiny(folder: Path) -> str:
    """Write a tiny random model; vLLM's attention on CPUs needs heads of 32 numbers at least."""
    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        initializer_range=0.2, eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_adapters(model: str, out: Path, names: tuple[str, ...], *, rank: int, std: float) -> dict[str, Path]:
    """Write LoRA adapters of random weights that change what a model says.

    Args:
        model: Model that they are adapters of.
        out: Folder of their folders.
        names: Names of the adapters.
        rank: Their rank.
        std: Standard deviation of their weights.
    """
    folders = {name: out / name for name in names}
    for seed, folder in enumerate(folders.values()):
        torch.manual_seed(seed)
        adapted = add_lora(load_backbone(model, dtype=torch.float32).model, rank)
        for name, value in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(value, std=std)
        save_adapter(adapted, folder)
    return folders
