"""Encoder-decoder trunks (BART, T5) on a forest: each prompt encoded once, each branch decoded after it.

The decoder reads [start, y_1 .. y_n] for a branch y_1 .. y_n, where start is the model's decoder start token.
Its state at y_k goes to y_k's place in the row; its state at start, which is the same for every branch of a
tree, goes to the place of the prompt's last token. So the states at a forest's sources predict the tokens at
its places, as those of decoder-only models do. The other places of a prompt hold the encoder's states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.forest import PROMPT, Forest, Tree, plant
from pluralign.lm.model_parts import output_embeddings
from pluralign.lm.tensors import to_list

# Padding takes at most a fifth of a batch. Up to 512 tokens one batch is cheaper than two; beyond 16,384 the
# copies of long prompts for many short branches would fill the memory.
_PADDED = 1.25
_SMALL, _LARGE = 512, 16_384
# Where their configurations do not say so outright, these scale states if the vocabulary head is tied.
_SCALED_WHERE_TIED = ("t5", "longt5", "umt5", "switch_transformers")


def encoder_decoder_hidden_states(model: PreTrainedModel, forest: Forest) -> Float[Tensor, "tokens d"]:
    """Hidden states of every token of a forest (on the model's device), after the final norms.

    Args:
        model: An encoder-decoder model of transformers with a vocabulary head; PEFT models too.
        forest: Forest on the model's device, each tree with a prompt.

    Raises:
        InputError: A tree has no prompt, or the model names no decoder start token.
    """
    start = decoder_start(model)
    prompts = _prompts(forest)
    inner = _without_adapter(model)
    encoded = _encode(inner.get_encoder(), forest, prompts)
    return _decode(inner.get_decoder(), forest, prompts, encoded, start)


def decoder_start(model: PreTrainedModel) -> int:
    """The token that the decoder reads first: BART's end of text, T5's padding.

    Raises:
        InputError: The model names none (mBART's depends on the language).
    """
    for config in (model.config, getattr(model, "generation_config", None)):
        start = getattr(config, "decoder_start_token_id", None)
        if isinstance(start, int):
            return start
    raise InputError(f"the configuration of {model.config.model_type!r} names no decoder_start_token_id")


def finish_states(model: PreTrainedModel, states: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """States as the vocabulary head takes them: in the first T5 times d^-1/2, in most models unchanged."""
    config = model.config
    scaled = getattr(config, "scale_decoder_outputs", None)
    if scaled is None:
        scaled = config.model_type in _SCALED_WHERE_TIED and config.tie_word_embeddings
    return states * config.d_model**-0.5 if scaled else states


def logits_bias(model: PreTrainedModel) -> Float[Tensor, " vocabulary"] | None:
    """What is added to the logits after the vocabulary head (BART and related models); None for nothing."""
    bias = getattr(_without_adapter(model), "final_logits_bias", None)
    return None if bias is None else bias[0]


@torch.no_grad()
def check_encoder_decoder(model: PreTrainedModel) -> None:
    """Refuse a model whose own logits are not those of its states here (one forward pass of two tokens).

    Raises:
        InputError: Its architecture is unlike those of BART and T5.
    """
    (forest,) = plant([Tree([0, 1], [[1]])])
    forest = forest.to(model.device)
    states = encoder_decoder_hidden_states(model, forest)[forest.sources]
    head = output_embeddings(model)
    bias = logits_bias(model)
    found = head(finish_states(model, states)) + (0 if bias is None else bias)
    prompt = forest.input_ids[:, :2]
    network: Any = model
    expected = network(
        input_ids=prompt, decoder_input_ids=torch.full_like(prompt[:, :1], decoder_start(model))
    )
    gap = (found - expected.logits[0]).abs().max()
    # A few roundings of the largest logit; a missing scale or bias makes far more.
    if not gap <= 16 * torch.finfo(found.dtype).eps * expected.logits.abs().max():
        raise InputError(f"models of type {model.config.model_type!r} make their logits in an unknown way")


def _without_adapter(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@dataclass(frozen=True, eq=False)
class _Stretches:
    """Consecutive tokens of a forest's row.

    Args:
        starts: Index of each stretch's first token.
        lengths: Number of tokens of each stretch.
    """

    starts: Int[Tensor, " stretches"]
    lengths: Int[Tensor, " stretches"]

    def padded(
        self, which: Int[Tensor, " rows"]
    ) -> tuple[Int[Tensor, "rows width"], Bool[Tensor, "rows width"]]:
        """Indices of some stretches' tokens, padded with the last one of each, and which of them are not
        padding."""
        lengths = self.lengths[which, None]
        steps = torch.arange(int(lengths.max()), device=lengths.device)
        return self.starts[which, None] + steps.minimum(lengths - 1), steps < lengths


def _prompts(forest: Forest) -> _Stretches:
    trees = int(forest.tree_ids[-1]) + 1
    lengths = torch.bincount(forest.tree_ids[forest.branch_ids == PROMPT], minlength=trees)
    if not lengths.all():
        tree = int((lengths == 0).nonzero()[0])
        raise InputError(f"tree {tree} of a forest has no prompt, which an encoder needs")
    numbers = torch.arange(trees, device=lengths.device)
    return _Stretches(torch.searchsorted(forest.tree_ids, numbers), lengths)


def _encode(encoder: Any, forest: Forest, prompts: _Stretches) -> Float[Tensor, "tokens d"]:
    """The encoder's states at the prompts' places, zeros at the branches'."""
    states: list[Tensor] = []
    places: list[Tensor] = []
    for rows in _batches(prompts.lengths[:, None]):
        inputs, real = prompts.padded(rows)
        found = encoder(input_ids=forest.input_ids[0, inputs], attention_mask=real.long())
        states.append(found.last_hidden_state[real])
        places.append(inputs[real])
    found = torch.cat(states)
    row = found.new_zeros(forest.input_ids.shape[1], found.shape[1])
    return row.index_copy(0, torch.cat(places), found)


def _decode(
    decoder: Any, forest: Forest, prompts: _Stretches, encoded: Float[Tensor, "tokens d"], start: int
) -> Float[Tensor, "tokens d"]:
    """The encoder's states with the decoder's put over them."""
    branches = _Stretches(forest.ends - forest.lengths + 1, forest.lengths)
    trees = forest.tree_ids[forest.ends]
    # Branches are laid out tree after tree; the first of a tree gives the state at its start.
    first = trees != torch.cat([trees.new_tensor([-1]), trees[:-1]])
    states: list[Tensor] = []
    places: list[Tensor] = []
    for rows in _batches(torch.stack([branches.lengths + 1, prompts.lengths[trees]], dim=1)):
        own = trees[rows]
        read, seen = prompts.padded(own)
        written, real = branches.padded(rows)
        inputs = forest.input_ids[0, written]
        found = decoder(
            # Padding comes after a branch's tokens, where a causal decoder does not look.
            input_ids=torch.cat([torch.full_like(inputs[:, :1], start), inputs], dim=1),
            encoder_hidden_states=encoded[read],
            encoder_attention_mask=seen.long(),
            use_cache=False,
        ).last_hidden_state
        last = (prompts.starts + prompts.lengths - 1)[own, None]
        kept = torch.cat([first[rows, None], real], dim=1)
        states.append(found[kept])
        places.append(torch.cat([last, written], dim=1)[kept])
    return encoded.index_copy(0, torch.cat(places), torch.cat(states))


def _batches(sizes: Int[Tensor, "rows kinds"]) -> list[Int[Tensor, " _"]]:
    """Batches of rows of similar sizes, the longest first; a row's sizes are its numbers of tokens of each
    kind, which are padded separately."""
    listed: list[list[int]] = to_list(sizes)
    batches: list[list[int]] = []
    tokens = 0
    widest: list[int] = []
    for row in sorted(range(len(listed)), key=listed.__getitem__, reverse=True):
        wider = [max(pair) for pair in zip(widest or listed[row], listed[row], strict=True)]
        padded = sum(wider) * (len(batches[-1]) + 1) if batches else 0
        if not batches or padded > min(max(_PADDED * (tokens + sum(listed[row])), _SMALL), _LARGE):
            batches.append([])
            tokens, wider = 0, listed[row]
        batches[-1].append(row)
        tokens += sum(listed[row])
        widest = wider
    return [torch.tensor(rows, device=sizes.device) for rows in batches]
