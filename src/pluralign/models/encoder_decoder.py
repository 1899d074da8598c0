"""Encoder-decoder trunks (BART, T5) on a forest: each prompt encoded once, each branch decoded after it.

The decoder reads [start, y_1 .. y_n] for a branch y_1 .. y_n, where start is the model's decoder start token.
Its state at y_k goes to y_k's place in the row; its state at start, which is the same for every branch of a
tree, goes to the place of the prompt's last token. So the states at a forest's sources predict the tokens at
its places, as those of decoder-only models do. The other places of a prompt hold the encoder's states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.models.forest import PROMPT, Forest, Tree, plant

# Padding is at most a quarter of a batch's tokens; below 512 tokens one batch is cheaper than two, and above
# 16,384 the prompts copied for a batch's branches (one-token answers after long prompts) would fill the memory.
_PADDED = 1.25
_SMALL, _LARGE = 512, 16_384
# T5's configurations say whether states are scaled before the vocabulary head; these scale where it is tied.
_SCALED_WHERE_TIED = ("t5", "longt5", "umt5", "switch_transformers")


def encoder_decoder_hidden_states(model: PreTrainedModel, forest: Forest) -> Float[Tensor, "tokens d"]:
    """Hidden states of every token of a forest (on the model's device), after the final norms.

    Args:
        model: an encoder-decoder model of transformers with a vocabulary head; PEFT models too.
        forest: on the model's device, each tree with a prompt.

    Raises:
        InputError: a tree has no prompt, or the model names no decoder start token.
    """
    encoder, decoder, start = _parts(model)
    prompts = _prompts(forest)
    branches = _Runs(forest.ends - forest.lengths + 1, forest.lengths)
    trees = forest.tree_ids[forest.ends]
    # Branches are laid out tree after tree: a tree's first one gives the state at its start.
    first = trees != torch.cat([trees.new_full((1,), -1), trees[:-1]])
    encoded = [
        _encode(encoder, forest, *prompts.padded(rows)) for rows in _batches([prompts.lengths.tolist()])
    ]
    states, places = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    hidden = states.new_zeros(forest.input_ids.shape[1], states.shape[1]).index_copy(0, places, states)
    decoded: list[tuple[Tensor, Tensor]] = []
    for rows in _batches([forest.lengths.tolist(), prompts.lengths[trees].tolist()]):
        batch = torch.tensor(rows, device=trees.device)
        memory, seen = prompts.padded(trees[batch])
        inputs, real = branches.padded(batch)
        ids = torch.cat([inputs.new_full((len(rows), 1), start), forest.input_ids[0, inputs]], dim=1)
        found = decoder(
            # Padding stands after the tokens, where a causal decoder's tokens do not look.
            input_ids=ids,
            encoder_hidden_states=hidden[memory],
            encoder_attention_mask=seen.long(),
            use_cache=False,
        ).last_hidden_state
        at_start = (prompts.starts + prompts.lengths - 1)[trees[batch], None]
        kept = torch.cat([first[batch, None], real], dim=1)
        decoded.append((found[kept], torch.cat([at_start, inputs], dim=1)[kept]))
    states, places = (torch.cat(parts) for parts in zip(*decoded, strict=True))
    return hidden.index_copy(0, places, states)
