"""What a causal language model makes of a forest: hidden states, and per-branch quantities of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.models.attention import ForestLayout, use_forest_attention
from pluralign.models.forest import Forest

_CHUNK = 256


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
            AttentionInterface (Llama, Qwen, Mistral, Gemma, GPT-2, ...); PEFT models too.
        forest: on the model's device.

    Raises:
        InputError: the model's layers do not.
    """
    return _run(model, forest, False).last_hidden_state[0]


def forest_layers(
    model: PreTrainedModel, forest: Forest, layers: Sequence[int]
) -> list[Float[Tensor, "tokens d"]]:
    """Hidden states of every token after each of these layers, in one pass.

    Args:
        model: as in `forest_hidden_states`.
        forest: on the model's device.
        layers: 0 is the embedding; the last layer (or -1) is given after the final norm.
    """
    hidden = _run(model, forest, True).hidden_states
    return [hidden[layer][0] for layer in layers]


def _run(model: PreTrainedModel, forest: Forest, output_hidden_states: bool) -> Any:
    use_forest_attention(model)
    layout = ForestLayout(forest)
    output = trunk_of(model)(
        input_ids=forest.input_ids,
        # What is 4-D passes through transformers' mask making as it is; nobody reads it.
        attention_mask=torch.zeros((1, 1, 1, 1), device=forest.input_ids.device),
        position_ids=forest.position_ids,
        use_cache=False,
        output_hidden_states=output_hidden_states,
        layout=layout,
    )
    if not layout.calls:
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


def token_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest
) -> Float[Tensor, " branch_tokens"]:
    """Log-probability of each branch token (in the order of `Forest.places`) after its path, nats, float32.

    A few hundred tokens at a time, so that the logits of all tokens are never held together; under
    autograd they are computed again in the backward pass. A token with nothing before it has 0: nothing
    predicts it.
    """
    states = hidden[forest.sources]
    targets = forest.input_ids[0, forest.places]
    parts: list[Tensor] = []
    for start in range(0, len(targets), _CHUNK):
        chunk = states[start : start + _CHUNK], targets[start : start + _CHUNK]
        if torch.is_grad_enabled():
            parts.append(checkpoint(_log_probs_of, model, *chunk, use_reentrant=False))  # pyright: ignore
        else:
            parts.append(_log_probs_of(model, *chunk))
    return torch.cat(parts).masked_fill(~forest.predicted, 0.0)


def branch_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], forest: Forest
) -> Float[Tensor, " branches"]:
    """Log-probability of each branch after its prompt: the sum over its tokens, nats, float32."""
    tokens = token_log_probs(model, hidden, forest)
    total = tokens.new_zeros(len(forest.ends))
    return total.index_add(0, forest.token_branches, tokens)


def _log_probs_of(
    model: PreTrainedModel, states: Float[Tensor, "tokens d"], targets: Tensor
) -> Float[Tensor, " tokens"]:
    head: Any = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    logits = finish_logits(model, head(states).float())
    # In bfloat16 a logit near 20 is rounded to 1/8, which would make ties of close answers: the targets'
    # logits are taken in float32; in the sum over the vocabulary the roundings even out.
    chosen = (states.float() * head.weight[targets].float()).sum(-1)
    if getattr(head, "bias", None) is not None:
        chosen = chosen + head.bias[targets].float()
    return finish_logits(model, chosen) - torch.logsumexp(logits, dim=-1)


def finish_logits(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """Scaling and soft-capping that some models (Cohere, Granite, Gemma) do after the vocabulary head."""
    config = model.config.get_text_config()
    if scale := getattr(config, "logit_scale", None):
        logits = logits * scale
    if scaling := getattr(config, "logits_scaling", None):
        logits = logits / scaling
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    return logits
