"""How the next token is chosen from a distribution: temperature, top-k, top-p, and random numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from pluralign.core import InputError
from pluralign.core.checks import require

# Logits over a smaller temperature would be infinite; at this one they differ by more than the softmax tells.
_COLDEST = 1e-6
# Inverse transform sampling looks for a token first among blocks of the vocabulary, then in one block.
_BLOCK = 256


@dataclass(frozen=True)
class Decoding:
    """How the tokens of a completion are chosen.

    Args:
        max_new_tokens: Largest number of tokens of a completion.
        temperature: Temperature of the softmax; 0 takes the most likely token.
        top_p: Probability mass of the most likely tokens that are kept (nucleus sampling); 1 keeps all.
        top_k: Number of most likely tokens that are kept; 0 keeps all.
        stop: Texts that end a completion and are not part of it.
        min_p: Least probability of a token that is kept, as a fraction of the most likely one's; 0 keeps all.

    Raises:
        InputError: A number is out of its range, or a stop text is empty.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    min_p: float = 0.0

    def __post_init__(self) -> None:
        require(
            self, {"max_new_tokens": 1, "temperature": 0, "top_k": 0, "top_p": 0, "min_p": 0}, {"min_p": 1}
        )
        stop: Any = self.stop
        for name, holds, rule in (
            ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("stop", all(isinstance(s, str) and s for s in stop), "non-empty texts"),
        ):
            if not holds:
                raise InputError(f"must be {rule}, found {getattr(self, name)!r}", field=name)

    def cut(self, text: str) -> str:
        """A text up to the first of the stop texts."""
        ends = [i for stop in self.stop if (i := text.find(stop)) >= 0]
        return text[: min(ends, default=len(text))]


def sampling_device(device: torch.device) -> torch.device:
    """Device on which tokens are drawn from logits on a device: Apple's GPUs have no float64, so the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


class TokenSampler:
    """Sampling settings of several rows, kept on a device, so that a step of decoding transfers none of them.

    Args:
        decodings: Settings of each row.
        device: Device of the log-probabilities.
    """

    def __init__(self, decodings: Sequence[Decoding], device: torch.device) -> None:
        device = self._device = sampling_device(device)
        self._greedy = all(d.temperature == 0 for d in decodings)
        self._temperatures = torch.tensor([[d.temperature] for d in decodings], device=device)
        self._least = (
            torch.tensor([[d.min_p] for d in decodings], device=device).log()
            if any(d.min_p and d.temperature for d in decodings)
            else None
        )
        rows = [i for i, d in enumerate(decodings) if d.temperature and (d.top_k or d.top_p < 1)]
        # Only these rows are sorted; None for all of them.
        self._every = len(rows) == len(decodings)
        self._rows = torch.tensor(rows, dtype=torch.long, device=device) if rows else None
        self._top_k = torch.tensor([[decodings[i].top_k or sys.maxsize] for i in rows], device=device)
        self._top_p = torch.tensor(
            [[decodings[i].top_p if decodings[i].top_p < 1 else math.inf] for i in rows],
            dtype=torch.float64, device=device,
        )  # fmt: skip

    def choose(
        self, log_probs: Float[Tensor, "rows vocabulary"], uniforms: Float[Tensor, " rows"]
    ) -> Int[Tensor, " rows"]:
        """The next token of each row, by its own temperature, min-p, top-k and top-p.

        Min-p looks at the distribution at that temperature, and top-k and top-p at what it has kept; all keep
        at least one token.

        Args:
            log_probs: Log-probabilities in nats, or logits.
            uniforms: A number from 0 to below 1 for each row, float64, on the `sampling_device`.
        """
        whence, log_probs = log_probs.device, log_probs.to(self._device)
        greedy = log_probs.argmax(-1)
        if self._greedy:
            return greedy.to(whence)
        scaled = log_probs / self._temperatures.clamp(min=_COLDEST)
        if self._least is not None:
            least = scaled.amax(-1, keepdim=True) + self._least
            scaled = scaled.masked_fill(scaled < least, -math.inf)
        if self._every:
            scaled = self._kept(scaled)
        elif self._rows is not None:
            scaled = scaled.index_copy(0, self._rows, self._kept(scaled[self._rows]))
        drawn = draw_tokens(scaled, uniforms, 1.0)
        return torch.where(self._temperatures[:, 0] == 0, greedy, drawn).to(whence)

    def _kept(self, logits: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        """The logits with those that top-k and top-p leave out at -inf."""
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        keep = torch.arange(logits.shape[1], device=logits.device) < self._top_k
        before = ordered.masked_fill(~keep, -math.inf).softmax(-1).double().cumsum(-1).roll(1, dims=-1)
        before[:, 0] = 0.0
        keep &= before < self._top_p
        return logits.masked_fill(~torch.empty_like(keep).scatter_(1, order, keep), -math.inf)


def draw_tokens(
    logits: Float[Tensor, "rows vocabulary"], uniforms: Float[Tensor, " rows"], temperature: float
) -> Int[Tensor, " rows"]:
    """Inverse transform sampling: the first token at which the cumulative probability exceeds u.

    Args:
        logits: Logits of the next token; -inf is never drawn.
        uniforms: Numbers u from 0 to below 1, float64, on the `sampling_device`.
        temperature: Temperature of the softmax; 0 takes the most likely token.
    """
    # First the block of the vocabulary in which it does is found, so that cumulative sums are short.
    if temperature == 0:
        return logits.argmax(dim=-1)
    whence, logits = logits.device, logits.to(uniforms.device)
    scaled = logits if temperature == 1 else logits / max(temperature, _COLDEST)
    masses = (scaled - scaled.max(dim=-1, keepdim=True).values).exp_()
    if odd := masses.shape[1] % _BLOCK:
        masses = pad(masses, (0, _BLOCK - odd))
    masses = masses.view(len(masses), -1, _BLOCK)
    sums = masses.sum(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    target = uniforms[:, None] * sums[:, -1:]
    block = torch.searchsorted(sums, target, right=True).clamp(max=sums.shape[1] - 1)
    inside = masses.gather(1, block[:, :, None].expand(-1, -1, _BLOCK)).squeeze(1).double().cumsum(dim=-1)
    before = sums.gather(1, block) - inside[:, -1:]
    # Rounding may put the target past the block's end; its last token of positive probability is then taken.
    target = torch.minimum(target - before, inside[:, -1:] * (1 - 1e-12))
    place = torch.searchsorted(inside, target, right=True).clamp(max=_BLOCK - 1)
    return (block * _BLOCK + place).squeeze(1).to(whence)
