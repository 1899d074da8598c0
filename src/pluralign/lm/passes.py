"""One pass of a row of tokens through a decoder-only trunk, attending as a layout says."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.attention import Layout, use_forest_attention
from pluralign.lm.pattern import marking


def trunk_of(model: PreTrainedModel) -> Any:
    """The transformer below the vocabulary head, adapters included; of multimodal models its text part."""
    inner: Any = model
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    trunk = getattr(inner, inner.base_model_prefix, None) or inner.model
    return getattr(trunk, "language_model", trunk)


def run_layout(
    model: PreTrainedModel, layout: Layout, position_ids: Int[Tensor, "1 tokens"], **inputs: Tensor
) -> Any:
    """Run one row of tokens through a decoder-only trunk.

    Args:
        model: Model whose layers take their attention from transformers' AttentionInterface; PEFT models too.
        layout: How the tokens attend.
        position_ids: Position of each token on its path.
        inputs: ``input_ids`` or ``inputs_embeds``.

    Raises:
        InputError: The model's layers do not take their attention from the layout.
    """
    use_forest_attention(model)
    known = layout.calls
    with marking():
        output = trunk_of(model)(
            **inputs,
            attention_mask=torch.ones(position_ids.shape, dtype=torch.long, device=position_ids.device),
            position_ids=position_ids,
            use_cache=False,
            layout=layout,
        )
    if layout.calls == known:
        raise InputError(f"models of type {model.config.model_type!r} do not hand a forest to their layers")
    return output
