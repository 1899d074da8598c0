"""Attention by layout: inside a forest, each token sees its own tree's prompt and its own branch.

Registered with transformers as the attention `NAME`. Without a layout among the arguments (generation with a
cache, for instance) it is plain scaled-dot-product attention.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol, no_type_check

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pluralign.core import InputError
from pluralign.lm.forest import PROMPT, Forest

NAME = "token_forest"
# FlexAttention's kernels need at least this width of a head.
_FLEX_HEAD = 16


def use_forest_attention(model: PreTrainedModel) -> None:
    """Let a model's layers attend as a forest says (the model is changed; without forests, nothing is).

    Raises:
        InputError: its attention cannot be replaced.
    """
    if model.config._attn_implementation != NAME:
        try:
            model.set_attn_implementation(NAME)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"models of type {model.config.model_type!r} cannot read forests: {error}"
            ) from error


class Layout(Protocol):
    """How the tokens of a row attend; goes through the layers with them."""

    calls: int
    """Layers that have attended by it."""

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "rows heads tokens width"],
        key: Float[Tensor, "rows groups keys width"],
        value: Float[Tensor, "rows groups keys width"],
        scaling: float | None,
        dropout: float,
    ) -> Float[Tensor, "rows heads tokens width"]:
        """What one layer's tokens see."""
        ...


class ForestLayout:
    """A forest on its way through a model's layers.

    Args:
        forest: on the model's device.
    """

    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self.calls = 0
        self._block_mask: BlockMask | None = None

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float
    ) -> Tensor:
        """See `Layout`: each token sees its tree's prompt and its own branch."""
        if query.is_cuda and query.shape[-1] >= _FLEX_HEAD and not dropout:
            return _compiled_flex()(
                query, key, value, block_mask=self.block_mask, scale=scaling, enable_gqa=True
            )
        return by_blocks(query, key, value, self.forest, scaling, dropout)

    @property
    def block_mask(self) -> BlockMask:
        """The forest as FlexAttention takes it."""
        if self._block_mask is None:
            forest = self.forest
            tokens = forest.input_ids.shape[1]

            # torch reads the signature of a mask, which a checked function hides.
            @no_type_check
            def seen(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
                same_tree = forest.tree_ids[query] == forest.tree_ids[key]
                of_branch = forest.branch_ids[key]
                on_path = (of_branch == PROMPT) | (of_branch == forest.branch_ids[query])
                return same_tree & on_path & (key <= query)

            self._block_mask = create_block_mask(
                seen, None, None, tokens, tokens, device=str(forest.input_ids.device)
            )
        return self._block_mask


def forest_attention(
    module: Any,
    query: Float[Tensor, "rows heads tokens width"],
    key: Float[Tensor, "rows groups keys width"],
    value: Float[Tensor, "rows groups keys width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows tokens heads width"], None]:
    """See transformers' AttentionInterface; ``layout`` is what `lm.trunk` hands to the layers."""
    if layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )  # pyright: ignore[reportReturnType]
    layout.calls += 1
    attended = layout.attend(module, query, key, value, scaling, dropout)
    return attended.transpose(1, 2).contiguous(), None


def by_blocks(
    query: Float[Tensor, "rows heads tokens width"],
    key: Float[Tensor, "rows groups keys width"],
    value: Float[Tensor, "rows groups keys width"],
    forest: Forest,
    scaling: float | None,
    dropout: float = 0.0,
) -> Float[Tensor, "rows heads tokens width"]:
    """Block after block: no score between trees is ever computed."""
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    sizes = [block.size for block in forest.blocks]
    # Splitting and not slicing: the gradient of a slice is a tensor of the whole row's size.
    queries, keys, values = query.split(sizes, 2), key.split(sizes, 2), value.split(sizes, 2)
    parts: list[Tensor] = []
    for i, block in enumerate(forest.blocks):
        k, v = keys[i], values[i]
        if block.prompt >= 0:
            k, v = torch.cat([keys[block.prompt], k], 2), torch.cat([values[block.prompt], v], 2)
        parts.append(
            F.scaled_dot_product_attention(
                queries[i], k, v,
                attn_mask=block.mask, is_causal=block.mask is None, dropout_p=dropout, scale=scaling,
            )
        )  # fmt: skip
    return torch.cat(parts, dim=2)


@cache
def _compiled_flex() -> Any:
    # Lengths differ from forest to forest: without dynamic shapes each would be compiled anew.
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, forest_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
