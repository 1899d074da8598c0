"""Parts of models of transformers whose types its own annotations leave open."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel


def text_config(model: PreTrainedModel) -> Any:
    """The configuration of a model's text part: of a multimodal model one part of it, of others the whole."""
    config: Any = model.config
    return config.get_text_config()


def output_embeddings(model: PreTrainedModel) -> Any:
    """The vocabulary head of a model, adapters included; None where it has none."""
    network: Any = model
    return network.get_output_embeddings()
