"""Hidden states of a forest by a language model's trunk, and quantities of them for each branch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.attention import ForestLayout
from pluralign.lm.encoder_decoder import encoder_decoder_hidden_states
from pluralign.lm.forest import Forest
from pluralign.lm.model_parts import text_config
from pluralign.lm.passes import run_layout
from pluralign.lm.plain import plain_states
from pluralign.lm.support import support_of


def context_length(model: PreTrainedModel) -> int | None:
    """Tokens of the longest path that the model was made for; None where it does not say."""
    config = text_config(model)
    names = ("max_position_embeddings", "max_seq_len")
    return next((limit for name in names if (limit := getattr(config, name, None))), None)


def forest_hidden_states(model: PreTrainedModel, forest: Forest) -> Float[Tensor, "tokens d"]:
    """Hidden states of every token of a forest (on the model's device), after the final norm.

    One pass where the model's layers can read forests (`lm.support`), else a pass for each path (`lm.plain`).

    Args:
        model: Causal model of transformers, or an encoder-decoder (BART, T5; see `lm.encoder_decoder`); PEFT
            models too.
        forest: Forest on the model's device.
    """
    if model.config.is_encoder_decoder:
        return encoder_decoder_hidden_states(model, forest)
    if not shares_forest(model, forest):
        support = support_of(model)
        (states,) = plain_states(model, forest, padding=support.padding, factors=support.factors)
        return states
    output = run_layout(model, ForestLayout(forest), forest.position_ids, input_ids=forest.input_ids)
    return output.last_hidden_state[0]


def shares_forest(model: PreTrainedModel, forest: Forest) -> bool:
    """Whether a causal model computes a forest's paths in one pass."""
    return support_of(model).shares(forest.longest_path)


def branch_last(hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, "branches d"]:
    """The hidden state of each branch's last token."""
    return hidden[forest.ends]


def branch_mean(hidden: Float[Tensor, "tokens d"], forest: Forest) -> Float[Tensor, "branches d"]:
    """The mean hidden state over each branch's tokens, in float32."""
    tokens = hidden[forest.places].float()
    total = tokens.new_zeros(len(forest.ends), tokens.shape[1])
    total = total.index_add(0, forest.token_branches, tokens)
    return total / forest.lengths[:, None]
