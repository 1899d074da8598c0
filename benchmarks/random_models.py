"""Random Llama models of given sizes, for questions of time and memory that no download should answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.device import default_device
from pluralign.lm.tensors import seeded

SHAPES = {
    "0.03b": (384, 1024, 8, 6, 2),
    "0.1b": (576, 1536, 30, 9, 3),
    "0.3b": (960, 2560, 32, 15, 5),
    "0.6b": (1280, 3584, 32, 20, 4),
    "1.0b": (1792, 4864, 28, 14, 2),
    "1.5b": (2048, 5632, 32, 16, 4),
}
"""Hidden size, size of the feed-forward layers, layers, heads, and heads of keys and values of each model."""
VOCABULARY = 49_152
"""Number of tokens, as many as SmolLM2 has."""


def llama_config(size: str) -> PreTrainedConfig:
    """Configuration of a model by its size, a key of `SHAPES`."""
    hidden, inner, layers, heads, groups = SHAPES[size]
    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=groups, max_position_embeddings=8192,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip


def random_llama(
    folder: Path, size: str, *, dtype: torch.dtype = torch.bfloat16, tokenizer: str = "smollm2-135m"
) -> Path:
    """Write a random model with another model's tokenizer, unless it is there already.

    Args:
        folder: Folder in which the model gets a folder of its own.
        size: Key of `SHAPES`.
        dtype: Precision of the files, and of the weights while they are drawn.
        tokenizer: Model with the tokenizer.
    """
    target = folder / f"llama-{size}-{str(dtype).removeprefix('torch.')}"
    if not (target / "tokenizer_config.json").is_file():
        with seeded(0), default_device():
            model: Any = AutoModelForCausalLM.from_config(llama_config(size), dtype=dtype)
        model.save_pretrained(target)
        load_tokenizer(tokenizer).save_pretrained(target)
    return target
