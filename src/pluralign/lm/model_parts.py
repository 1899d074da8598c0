"""Parts of models of transformers whose types its own annotations leave open."""

from __future__ import annotations

from collections.abc import Callable
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


def reads_text(model: PreTrainedModel) -> Callable[[str], bool]:
    """A function that says of a layer, by its name, whether a text can pass it: those of a multimodal model's
    other parts, which read pictures or sounds, none does."""
    network: Any = model
    if hasattr(network, "get_base_model"):
        network = network.get_base_model()
    if text_config(network) is network.config:
        return lambda name: True
    parts = (network.get_decoder(), output_embeddings(network))
    names = [name for name, module in network.named_modules() if any(module is part for part in parts)]
    # A part without a name is the whole model.
    return lambda name: any(not part or f"{name}.".startswith(f"{part}.") for part in names)
