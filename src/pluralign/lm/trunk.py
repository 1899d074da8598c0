"""What a language model's trunk makes of a forest: hidden states, and per-branch quantities of them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.attention import ForestLayout, Layout, use_forest_attention
from pluralign.lm.encoder_decoder import encoder_decoder_hidden_states
from pluralign.lm.forest import Forest


def trunk_of(model: PreTrainedModel) -> Any:
    """The transformer below the vocabulary head, adapters included."""
    inner: Any = model
    if hasattr(inner, "get_base_model"):
        inner = inner.get_base_model()
    return getattr(inner, inner.base_model_prefix)


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens of the longest path that the model was made for; None where it does not say.

    A sliding window counts as the limit: within it, sliding and full attention are the same.
    """
    config = model.config.get_text_config()
    limits = [getattr(config, "max_position_embeddings", None)]
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        limits.append(getattr(config, "sliding_window", None))
    return min((limit for limit in limits if limit), default=None)


def forest_hidden_states(model: PreTrainedModel, forest: Forest) -> Float[Tensor, "tokens d"]:
    """Hidden states of every token of a forest (on the model's device), after the final norm.

    Args:
        model: any decoder-only model of transformers whose layers take their attention from its
            AttentionInterface (Llama, Qwen, Mistral, Gemma, GPT-2, ...), or an encoder-decoder (BART, T5),
            whose states `models.encoder_decoder` explains; PEFT models too.
        forest: on the model's device.

    Raises:
        InputError: the model's layers do not.
    """
    if model.config.is_encoder_decoder:
        return encoder_decoder_hidden_states(model, forest)
    output = run_layout(model, ForestLayout(forest), forest.position_ids, input_ids=forest.input_ids)
    return output.last_hidden_state[0]


def run_layout(
    model: PreTrainedModel, layout: Layout, position_ids: Int[Tensor, "1 tokens"], **inputs: Tensor
) -> Any:
    """One row of tokens through a decoder-only trunk, attending as the layout says.

    Args:
        model: see `forest_hidden_states`.
        layout: how the tokens attend.
        position_ids: of the tokens.
        inputs: ``input_ids`` or ``inputs_embeds``.

    Raises:
        InputError: the model's layers do not take their attention from the layout.
    """
    use_forest_attention(model)
    known = layout.calls
    output = trunk_of(model)(
        **inputs,
        # What is 4-D passes through transformers' mask making as it is; nobody reads it.
        attention_mask=torch.zeros((1, 1, 1, 1), device=position_ids.device),
        position_ids=position_ids,
        use_cache=False,
        layout=layout,
    )
    if layout.calls == known:
        raise InputError(f"models of type {model.config.model_type!r} do not hand a forest to their layers")
    return output


def branch_last(hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, "branches d"]:
    """The hidden state of each branch's last token."""
    return hidden[forest.ends]


def branch_mean(hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, "branches d"]:
    """The mean hidden state over each branch's tokens, in float32."""
    tokens = hidden[forest.places].float()
    total = tokens.new_zeros(len(forest.ends), tokens.shape[1])
    total = total.index_add(0, forest.token_branches, tokens)
    return total / forest.lengths[:, None]
