"""Which earlier tokens of its own path a token attends to, layer by layer, as the model itself says it.

transformers describes a layer's attention by a mask function: causal, a sliding window, or chunks. While a
forest is computed, `mark` makes the model's masks: tensors of one number, from which the attention of the
layers that get them reads the pattern. What a mask cannot say (soft capping of scores, attention sinks) comes
with the call of the attention.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import masking_utils
from transformers.masking_utils import causal_mask_function

from pluralign.core import InputError

# The mark of a mask that is no pattern.
_UNKNOWN = -(1 << 62)
_masking: Any = masking_utils
_MARKING: ContextVar[bool] = ContextVar("marking", default=False)


@dataclass(frozen=True, eq=False)
class Pattern:
    """How the tokens of a path attend to each other in one layer.

    Args:
        window: Number of latest tokens, its own included, that a token sees; None for all.
        chunk: Number of tokens of a chunk: a token sees its own chunk only; None for all.
        softcap: Scores s become softcap x tanh(s / softcap); None leaves them as they are.
        sinks: Score, for each head, of a key without a value, which takes its share of the softmax.
    """

    window: int | None = None
    chunk: int | None = None
    softcap: float | None = None
    sinks: Float[Tensor, " heads"] | None = None

    @property
    def reach(self) -> int | None:
        """Length of the longest path all of whose tokens see all that come before; None for any."""
        return self.window or self.chunk

    @property
    def plain(self) -> bool:
        """Whether scores go into the softmax as they are."""
        return self.softcap is None and self.sinks is None

    def sees(self, queries: Int[Tensor, "*queries"], keys: Int[Tensor, "*keys"]) -> Bool[Tensor, "*both"]:
        """Whether queries see keys of the same path, by their positions on it (shapes broadcast)."""
        return within(queries, keys, self.window, self.chunk)

    def weights(self, scores: Float[Tensor, "*shape"], seen: Bool[Tensor, "*shape2"], heads: int) -> Tensor:
        """Softmax over the last axis, of the scores that are seen.

        Args:
            scores: Scaled products; axis 1 counts the groups of keys.
            seen: Mask, True where a query sees a key; it broadcasts.
            heads: Axis of ``scores`` that counts the heads of a group.

        Returns:
            Weights in float32.
        """
        if self.softcap is not None:
            scores = self.softcap * torch.tanh(scores / self.softcap)
        scores = scores.masked_fill(~seen, float("-inf")).float()
        if self.sinks is None:
            return scores.softmax(dim=-1)
        shape = [1] * scores.dim()
        shape[1], shape[heads] = scores.shape[1], scores.shape[heads]
        sinks = self.sinks.float().view(shape).expand(*scores.shape[:-1], 1)
        return torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]

    def attend(
        self,
        query: Float[Tensor, "rows heads tokens width"],
        key: Float[Tensor, "rows groups keys width"],
        value: Float[Tensor, "rows groups keys value_width"],
        seen: Bool[Tensor, "tokens keys"] | None,
        scaling: float | None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "rows heads tokens value_width"]:
        """Attention; ``seen`` None is causal. If the pattern is plain, keys may have fewer heads."""
        if self.plain:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask=seen, is_causal=seen is None, dropout_p=dropout, scale=scaling,
                enable_gqa=key.shape[1] < query.shape[1],
            )  # fmt: skip
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if seen is None:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        # Here each head is a group of its own.
        weights = self.weights(scores[:, :, None], seen, heads=2)[:, :, 0].to(value.dtype)
        return F.dropout(weights, dropout) @ value


def stored_scores(
    queries: Float[Tensor, "*rows queries width"], store: Float[Tensor, "*rows room width"], count: int
) -> Float[Tensor, "*rows queries count"]:
    """Products of few queries with the first keys of a store that has room for more."""
    keys = store[..., :count, :]
    if store.dtype != torch.bfloat16 or store.device.type != "cpu":
        return queries @ keys.transpose(-1, -2)
    # oneDNN copies a part of a store to transpose it, which takes several times as long as the products: with
    # the whole store nothing is copied, and as rows the keys need no transposing.
    if store.shape[-2] <= 2 * count:
        return (queries @ store.transpose(-1, -2))[..., :count]
    return (keys @ queries.transpose(-1, -2)).transpose(-1, -2)


# No shapes in its annotations: torch reads the signature of what it compiles into a mask, which a function
# with checked shapes would hide.
def within(queries: Tensor, keys: Tensor, window: int | None, chunk: int | None) -> Tensor:
    """See `Pattern.sees`."""
    seen = keys <= queries
    if window is not None:
        seen = seen & (queries - keys < window)
    if chunk is not None:
        seen = seen & (queries // chunk == keys // chunk)
    return seen


@contextmanager
def marking() -> Generator[None]:
    """Inside, a model's masks are marks of the patterns that they would show."""
    token = _MARKING.set(True)
    try:
        yield
    finally:
        _MARKING.reset(token)


def mark(
    *args: Any, mask_function: Callable[..., Any] = causal_mask_function, local_size: int | None = None,
    use_vmap: bool = False, **kwargs: Any,
) -> Tensor | None:  # fmt: skip
    """See transformers' AttentionMaskInterface: a mask, or its mark while `marking`."""
    if not _MARKING.get():
        return _masking.sdpa_mask(
            *args, mask_function=mask_function, local_size=local_size, use_vmap=use_vmap, **kwargs
        )

    def seen(query: int, key: int) -> bool:
        # On the host, so that a step does not wait for the device.
        numbers = (torch.tensor(number) for number in (0, 0, query, key))
        return bool(mask_function(*numbers))

    number = _UNKNOWN
    if not use_vmap and not seen(0, 1):
        if local_size is None:
            number = 0 if seen(1, 0) else _UNKNOWN
        elif seen(local_size, 1) and not seen(local_size, 0):
            number = local_size
        elif seen(local_size, local_size) and not seen(local_size, local_size - 1):
            number = -local_size
    # Masks are made for layers that may not be there: an unknown one is refused where a layer reads it.
    return torch.tensor([[[[number]]]])


def read_pattern(
    mask: Tensor | None, softcap: float | None, sinks: Float[Tensor, " heads"] | None
) -> Pattern:
    """The pattern that a mark means.

    Raises:
        InputError: The mask is no mark, or neither causal, nor a sliding window, nor chunks.
    """
    if mask is None or mask.numel() != 1 or mask.is_floating_point():
        raise InputError("its masks are made in a way of its own")
    number = int(mask)
    if number == _UNKNOWN:
        raise InputError("its masks are neither causal, nor sliding windows, nor chunks")
    return Pattern(number if number > 0 else None, -number if number < 0 else None, softcap, sinks)
