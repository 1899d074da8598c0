"""Attention while completions are drawn: the samples of a prompt share its keys, and each has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pluralign.lm.attention import ForestLayout
from pluralign.lm.forest import Forest
from pluralign.lm.pattern import Pattern, stored_scores

KeysAndValues = tuple[Tensor, Tensor]


class PromptLayout(ForestLayout):
    """Prompts, one after the other in a row, each a tree of its own; the keys and values of their tokens are
    kept.

    Args:
        forest: Forest of the prompts.
    """

    def __init__(self, forest: Forest) -> None:
        super().__init__(forest)
        self.kept: dict[int, KeysAndValues] = {}
        """Keys and values of each layer, each of shape (groups, tokens, width)."""

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, pattern: Pattern
    ) -> Tensor:
        """See `Layout`."""
        self.kept[module.layer_idx] = (key[0], value[0])
        return super().attend(module, query, key, value, scaling, pattern)


class SampleLayout:
    """One new token of every sample of every prompt: ``prompts x samples`` tokens in a row.

    A token sees its prompt, which is kept once for all samples, and the earlier tokens of its own sample.

    Args:
        kept: Keys and values of a `PromptLayout` that has been through the layers.
        lengths: Number of tokens of each prompt, in the row's order.
        chosen: Numbers of the prompts that are drawn from.
        samples: Number of completions of each.
        max_new_tokens: Number of tokens that each sample has room for.
    """

    def __init__(
        self, kept: dict[int, KeysAndValues], lengths: Sequence[int], chosen: Sequence[int], samples: int,
        max_new_tokens: int,
    ) -> None:  # fmt: skip
        self.calls = 0
        self.step = 0
        """Tokens that every sample has already: the place of the next one's keys."""
        self._samples = samples
        starts = [sum(lengths[:i]) for i in chosen]
        ends = [start + lengths[i] for start, i in zip(starts, chosen, strict=True)]
        width = max(lengths[i] for i in chosen)
        self._prompts = {
            layer: (_padded(keys, starts, ends, width), _padded(values, starts, ends, width))
            for layer, (keys, values) in kept.items()
        }
        device = next(iter(kept.values()))[0].device
        self._lengths: Int[Tensor, " prompts"] = torch.tensor([lengths[i] for i in chosen], device=device)
        self._width = width
        self._room = max_new_tokens
        self._own: dict[int, KeysAndValues] = {}

    def select(self, prompts: Int[Tensor, " prompts"], samples: Int[Tensor, "prompts samples"]) -> None:
        """Keep these prompts, in this order, and of each of them these samples."""
        self._lengths, self._samples = self._lengths[prompts], samples.shape[1]
        if len(prompts) < len(next(iter(self._prompts.values()))[0]):
            self._prompts = {
                layer: (keys[prompts], values[prompts]) for layer, (keys, values) in self._prompts.items()
            }
        # Samples are an axis behind that of the groups of heads.
        self._own = {
            layer: (
                keys[prompts[:, None], :, samples].transpose(1, 2).contiguous(),
                values[prompts[:, None], :, samples].transpose(1, 2).contiguous(),
            )
            for layer, (keys, values) in self._own.items()
        }

    def attend(
        self,
        module: Any,
        query: Float[Tensor, "1 heads tokens width"],
        key: Float[Tensor, "1 groups tokens width"],
        value: Float[Tensor, "1 groups tokens value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "1 heads tokens value_width"]:
        """See `Layout`."""
        self.calls += 1
        prompt_keys, prompt_values = self._prompts[module.layer_idx]
        prompts, groups, length, width = prompt_keys.shape
        samples, heads = self._samples, query.shape[1]
        own_keys, own_values = self._remember(module.layer_idx, key, value)
        queries = query[0].view(groups, -1, prompts, samples, width).permute(2, 0, 3, 1, 4)
        queries = queries * (width**-0.5 if scaling is None else scaling)
        shared = queries.reshape(prompts, groups, -1, width) @ prompt_keys.transpose(-1, -2)
        shared = shared.view(*queries.shape[:-1], length)
        count = self.step + 1
        scores = torch.cat([shared, stored_scores(queries, own_keys, count)], dim=-1)
        weights = pattern.weights(scores, self._seen(pattern)[:, None, None, None], heads=3)
        weights = weights.to(prompt_values.dtype)
        of_prompt, of_own = torch.split(weights, [length, count], dim=-1)
        seen = of_prompt.reshape(prompts, groups, -1, length) @ prompt_values
        seen = seen.view(*queries.shape[:-1], -1) + of_own @ own_values[..., :count, :]
        return seen.permute(1, 3, 0, 2, 4).reshape(1, heads, prompts * samples, -1)

    def _seen(self, pattern: Pattern) -> Bool[Tensor, "prompts keys"]:
        """Which keys of its prompt and of its own a prompt's samples see at this step."""
        device, lengths = self._lengths.device, self._lengths[:, None]
        places = torch.arange(self._width, device=device)[None]
        own = lengths + torch.arange(self.step + 1, device=device)[None]
        seen = pattern.sees(lengths + self.step, torch.cat([places.expand(len(lengths), -1), own], dim=1))
        return seen & torch.cat([places < lengths, torch.ones_like(own, dtype=torch.bool)], dim=1)

    def _remember(self, layer: int, key: Tensor, value: Tensor) -> KeysAndValues:
        """Room for all keys of each sample, with the new token's after the earlier ones: (prompts, groups,
        samples, room, d)."""
        prompts, groups = self._prompts[layer][0].shape[:2]
        own = self._own.get(layer)
        if own is None:
            shape = (prompts, groups, self._samples, self._room)
            own = self._own[layer] = (
                key.new_empty(*shape, key.shape[-1]),
                value.new_empty(*shape, value.shape[-1]),
            )
        for store, new in zip(own, (key, value), strict=True):
            store[..., self.step, :] = new[0].view(groups, prompts, self._samples, -1).transpose(0, 1)
        return own


def _padded(values: Tensor, starts: Sequence[int], ends: Sequence[int], width: int) -> Tensor:
    """(groups, tokens, d) cut into prompts and padded at their ends: (prompts, groups, width, d)."""
    result = values.new_zeros(len(starts), values.shape[0], width, values.shape[2])
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        result[i, :, : end - start] = values[:, start:end]
    return result
