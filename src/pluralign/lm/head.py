"""Logits of hidden states: by a formula that most vocabulary heads follow, or by the model's own code."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from pluralign.lm.encoder_decoder import finish_states, logits_bias
from pluralign.lm.model_parts import output_embeddings, text_config
from pluralign.lm.passes import trunk_of

CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names of the soft cap of logits in configurations."""


def head_logits(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"]
) -> Float[Tensor, "tokens vocabulary"]:
    """Logits by the formula: a linear head, then scaling and soft-capping; float32."""
    return finish_logits(model, raw_logits(model, states))


def raw_logits(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"]
) -> Float[Tensor, "tokens vocabulary"]:
    """Outputs of the linear head, before scaling and soft-capping; float32."""
    logits: Tensor = output_embeddings(model)(finish_states(model, states)).float()
    if (bias := logits_bias(model)) is not None:
        logits = logits + bias.float()
    return logits


def finish_logits(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """Scaling and soft-capping that some models (Cohere, Granite, Gemma) do after the vocabulary head."""
    config = text_config(model)
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if scaling := getattr(config, "logits_scaling", None):
        logits = logits / scaling
    for name in CAPS:
        if cap := getattr(config, name, None):
            logits = cap * torch.tanh(logits / cap)
    return logits


class _Output(BaseModelOutputWithPast):
    """What a trunk returns, of which only the states matter."""

    def __getattr__(self, name: str) -> None:
        return None


def own_logits(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"]
) -> Float[Tensor, "tokens vocabulary"]:
    """Logits by the model's own code (ModernBERT's decoder has layers between trunk and head); float32."""
    network: Any = model
    trunk = trunk_of(model)
    own = trunk.__dict__.get("forward")

    def forward(*arguments: Any, **named: Any) -> _Output:
        return _Output(last_hidden_state=states[None])

    trunk.forward = forward
    try:
        ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        return network(input_ids=ids, use_cache=False).logits[0].float()
    finally:
        del trunk.forward
        if own is not None:
            trunk.forward = own
