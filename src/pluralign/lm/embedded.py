"""Whether a model knows the tokens that its tokenizer writes around texts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.lm.bos import bos_ids
from pluralign.lm.prompts import encode, end_of_turn_ids, render_chat


def require_embedded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a model without embeddings of the BOS, the end of text, or the chat template's tokens: they were
    added to the tokenizer, and the model was saved without them.

    Args:
        model: Model.
        tokenizer: Its tokenizer.
        name: Name given by the user.

    Raises:
        InputError: It lacks one of them.
    """
    network: Any = model
    known: Any = tokenizer
    rows = int(network.get_input_embeddings().weight.shape[0])
    if len(tokenizer) <= rows:
        return
    ids = {*bos_ids(tokenizer), *end_of_turn_ids(tokenizer)}
    if known.eos_token_id is not None:
        ids.add(known.eos_token_id)
    if known.chat_template is not None:
        # A template may refuse so short a chat.
        with suppress(InputError):
            ids |= set(encode(tokenizer, render_chat(tokenizer, "a")))
    if lacking := sorted(token for token in ids if token >= rows):
        raise InputError(
            f"model {name!r} has embeddings of {rows} tokens, and its tokenizer writes "
            f"{known.convert_ids_to_tokens(lacking[0])!r}, number {lacking[0]}; resize its embeddings, or "
            "give it the tokenizer that it was trained with"
        )
