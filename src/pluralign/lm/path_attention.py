"""Attention of the last tokens of a path, in parts, so that no mask has the path's length squared."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pluralign.lm.pattern import Pattern, within

# Tokens that attend together where they need a mask.
_PART = 512


class PathAttention:
    """Attention along paths; layers and paths share the masks.

    Args:
        longest: Number of tokens of the longest path.
        device: Device of the masks.
    """

    def __init__(self, longest: int, device: torch.device) -> None:
        self._longest, self._device = longest, device
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self,
        query: Float[Tensor, "rows heads tokens width"],
        key: Float[Tensor, "rows groups keys width"],
        value: Float[Tensor, "rows groups keys value_width"],
        scaling: float | None,
        pattern: Pattern,
    ) -> Float[Tensor, "rows heads tokens value_width"]:
        """Attention of the path's last tokens, whose queries these are, to all of the path; see
        `Pattern.attend`."""
        tokens, length = query.shape[2], key.shape[2]
        narrow = pattern.reach is not None and length > pattern.reach
        window, chunk = (pattern.window, pattern.chunk) if narrow else (None, None)
        parts: list[Tensor] = []
        start, before = 0, length - tokens
        while start < tokens:
            place = before + start
            first = place - place % chunk if chunk else max(0, place + 1 - window) if window else 0
            # From its first key on, a part is causal by itself, without a mask.
            causal = place % chunk == 0 if chunk else place == 0
            most = (chunk or window or length) if causal else _PART
            if chunk:
                most = min(most, first + chunk - place)
            stop = min(tokens, start + most)
            own = slice(first, before + stop)
            seen = None if causal else self._mask(window)[start - stop :, first - before - stop :]
            parts.append(
                pattern.attend(query[:, :, start:stop], key[:, :, own], value[:, :, own], seen, scaling)
            )
            start = stop
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    def _mask(self, window: int | None) -> Bool[Tensor, "part keys"]:
        """What the last tokens of a path see of all of it; shorter paths need its last rows and columns."""
        if window not in self._masks:
            longest = max(self._longest, _PART) if window is None else window + _PART
            keys = torch.arange(longest, device=self._device)
            self._masks[window] = within(keys[-_PART:, None], keys[None], window, None)
        return self._masks[window]
