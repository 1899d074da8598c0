"""Attention by layout: inside a forest, each token sees its own tree's prompt and its own branch.

Registered with transformers as the attention `NAME`, with masks that say which pattern each layer has
(`lm.pattern`): causal, sliding window, chunks. Distances are counted along a token's path. Without a layout
among the arguments (generation with a cache, for instance) it is ordinary attention.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import cache
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations import sdpa_attention

from pluralign.core import InputError
from pluralign.lm.block_mask import forest_block_mask
from pluralign.lm.forest import Forest
from pluralign.lm.path_attention import PathAttention
from pluralign.lm.pattern import Pattern, mark, read_pattern

_log = logging.getLogger(__name__)
NAME = "token_forest"
# Their own types are incomplete.
_torch: Any = torch
_sdpa: Any = sdpa_attention
_attentions: Any = AttentionInterface
_masks: Any = AttentionMaskInterface
# FlexAttention's kernels need at least this width of a head.
_FLEX_HEAD = 16
# For fewer queries torch picks a kernel for decoding that did not compile on an H200 (torch 2.11). Gradients
# of such rows by SDPA in bfloat16 were wrong there in some calls, so plain operations compute them.
_FLEX_TOKENS = 128
# What kept FlexAttention from being compiled in this process.
_failed: list[str] = []


def use_forest_attention(model: PreTrainedModel) -> None:
    """Make a model's layers attend as a forest says (the model is changed; what it computes without a forest
    is not).

    Raises:
        InputError: Its attention cannot be replaced.
    """
    network: Any = model
    if network.config._attn_implementation != NAME:
        try:
            network.set_attn_implementation(NAME)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"models of type {model.config.model_type!r} cannot read forests: {error}"
            ) from error


class Layout(Protocol):
    """How the tokens of a row attend; goes through the layers with them."""

    calls: int
    """Number of layers that have attended by it."""

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "rows heads tokens width"],
        key: Float[Tensor, "rows groups keys width"],
        value: Float[Tensor, "rows groups keys value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "rows heads tokens value_width"]:
        """What one layer's tokens see.

        Args:
            module: The layer's attention.
            query: Queries of the row's tokens.
            key: Their keys.
            value: Their values.
            scaling: Factor of the scores; None is width^-1/2.
            pattern: Which tokens of its path a token sees.
        """
        ...


class ForestLayout:
    """A forest on its way through a model's layers.

    Args:
        forest: Forest on the model's device.
    """

    def __init__(self, forest: Forest) -> None:
        self.forest = forest
        self.calls = 0
        self._block_masks: dict[tuple[int | None, int | None], BlockMask] = {}
        self._masks: dict[tuple[int | None, int | None, int], Tensor] = {}
        self._paths = PathAttention(forest.longest_path, forest.position_ids.device)

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, pattern: Pattern
    ) -> Tensor:
        """See `Layout`: each token sees its tree's prompt and its own branch."""
        short = query.shape[2] < _FLEX_TOKENS
        wide = min(query.shape[-1], value.shape[-1]) >= _FLEX_HEAD
        if query.is_cuda and wide and not short and pattern.plain:
            attended = _by_flex(query, key, value, self.block_mask(pattern), scaling)
            if attended is not None:
                return attended
        plain = query.is_cuda and (short or query.requires_grad)
        with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            return self.by_blocks(query, key, value, scaling, pattern)

    def by_blocks(
        self,
        query: Float[Tensor, "rows heads tokens width"],
        key: Float[Tensor, "rows groups tokens width"],
        value: Float[Tensor, "rows groups tokens value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "rows heads tokens value_width"]:
        """Attention block after block: no score between trees is ever computed."""
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        sizes = [block.size for block in self.forest.blocks]
        # Splitting and not slicing: the gradient of a slice is a tensor of the whole row's size.
        queries, keys, values = (torch.split(one, sizes, 2) for one in (query, key, value))
        parts: list[Tensor] = []
        for i, block in enumerate(self.forest.blocks):
            k, v = keys[i], values[i]
            if block.prompt >= 0:
                k, v = torch.cat([keys[block.prompt], k], 2), torch.cat([values[block.prompt], v], 2)
            if block.mask is None:
                parts.append(self._paths.attend(queries[i], k, v, scaling, pattern))
            else:
                parts.append(pattern.attend(queries[i], k, v, self._mask_of(i, pattern), scaling))
        return torch.cat(parts, dim=2)

    def block_mask(self, pattern: Pattern) -> BlockMask:
        """The forest as FlexAttention takes it."""
        known = (pattern.window, pattern.chunk) if self._reaches(pattern) else (None, None)
        if known not in self._block_masks:
            self._block_masks[known] = forest_block_mask(self.forest, *known)
        return self._block_masks[known]

    def _mask_of(self, number: int, pattern: Pattern) -> Bool[Tensor, "size keys"]:
        """What the tokens of a block of several paths see of its keys."""
        block = self.forest.blocks[number]
        mask = block.mask
        assert mask is not None
        if not self._reaches(pattern):
            return mask
        known = (pattern.window, pattern.chunk, number)
        if known not in self._masks:
            parts = torch.split(self.forest.position_ids[0], [block.size for block in self.forest.blocks])
            keys = parts[number]
            if block.prompt >= 0:
                keys = torch.cat([parts[block.prompt], keys])
            self._masks[known] = pattern.sees(parts[number][:, None], keys[None]) & mask
        return self._masks[known]

    def _reaches(self, pattern: Pattern) -> bool:
        """Whether some path is longer than the pattern's tokens see."""
        if pattern.reach is None:
            return False
        return self.forest.longest_path > pattern.reach


def forest_attention(
    module: Any,
    query: Float[Tensor, "rows heads tokens width"],
    key: Float[Tensor, "rows groups keys width"],
    value: Float[Tensor, "rows groups keys value_width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows tokens heads value_width"], None]:
    """See transformers' AttentionInterface; ``layout`` is what `lm.passes` hands to the layers."""
    if layout is not None:
        layout.calls += 1
        attended = layout.attend(
            module, query, key, value, scaling, read_pattern(attention_mask, softcap, s_aux)
        )
        return attended.transpose(1, 2).contiguous(), None
    pattern = Pattern(softcap=softcap, sinks=s_aux)
    if pattern.plain:
        return _sdpa.sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if attention_mask is None and query.shape[2] == 1:
        attention_mask = torch.ones(1, key.shape[2], dtype=torch.bool, device=key.device)
    attended = pattern.attend(query, key, value, attention_mask, scaling, dropout)
    return attended.transpose(1, 2).contiguous(), None


def _by_flex(
    query: Float[Tensor, "rows heads tokens width"],
    key: Float[Tensor, "rows groups tokens width"],
    value: Float[Tensor, "rows groups tokens value_width"],
    block_mask: BlockMask,
    scaling: float | None,
) -> Float[Tensor, "rows heads tokens value_width"] | None:
    """FlexAttention; None where torch cannot compile it, for these tensors or on this machine."""
    if _failed:
        return None
    try:
        return _compiled_flex()(query, key, value, block_mask=block_mask, scale=scaling, enable_gqa=True)
    except _torch._dynamo.exc.TorchDynamoException as error:
        # Each attempt takes seconds, in every layer.
        _failed.append(type(error).__name__)
        _log.warning(
            "FlexAttention could not be compiled (%s): forests are read block by block, which is slower",
            _failed[0],
        )
        return None


@cache
def _compiled_flex() -> Any:
    # Lengths differ from forest to forest: without dynamic shapes each would be compiled again.
    return _torch.compile(flex_attention, dynamic=True)


_attentions.register(NAME, forest_attention)
_masks.register(NAME, mark)
