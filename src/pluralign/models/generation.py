"""Sampling of replies in batches, with random numbers that belong to the row and not to the batch."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError
from pluralign.models.backbone import Backbone
from pluralign.models.trunk import context_length

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sampling:
    """How replies are drawn.

    Args:
        max_new_tokens: replies are cut off there.
        temperature: of the softmax; 0 takes the most likely token.
    """

    max_new_tokens: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"must be at least 1, found {self.max_new_tokens}", field="max_new_tokens")
        if not 0.0 <= self.temperature < float("inf"):
            raise InputError(f"must be 0 or more, found {self.temperature}", field="temperature")


def row_seeds(texts: Sequence[str], seed: int | Sequence[int]) -> list[int]:
    """A seed for each row, from its text, the seed, and how many equal rows stand before it.

    Raises:
        InputError: as many seeds as texts were expected.
    """
    seeds = [seed] * len(texts) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(texts):
        raise InputError(f"expected one seed, or {len(texts)}, found {len(seeds)}", field="seed")
    seen: Counter[tuple[str, int]] = Counter()
    result: list[int] = []
    for text, own in zip(texts, seeds, strict=True):
        mark = hashlib.blake2b(f"{own} {seen[text, own]} {text}".encode(), digest_size=8)
        seen[text, own] += 1
        result.append(int.from_bytes(mark.digest(), "little"))
    return result


def generate_rows(
    backbone: Backbone,
    prompts: Sequence[tuple[list[int], int]],
    seeds: Sequence[int],
    sampling: Sampling,
    token_budget: int,
) -> list[str]:
    """Continue each prompt until its end-of-text token.

    Args:
        backbone: the model.
        prompts: ids of each prompt, and how many of its first tokens stay when it is cut.
        seeds: one for each prompt.
        sampling: how tokens are drawn.
        token_budget: rows x (longest prompt + new tokens) of one batch.
    """
    if backbone.model.config.is_encoder_decoder:
        raise InputError(
            f"{backbone.name!r} is an encoder-decoder, which pluralign scores with but does not write with"
        )
    prompts = _fit(backbone, prompts, sampling.max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i][0]))
    replies = [""] * len(prompts)
    while order:
        width = len(prompts[order[0]][0]) + sampling.max_new_tokens
        count = max(1, token_budget // width)
        batch, order = order[:count], order[count:]
        rows = _generate_batch(backbone, [prompts[i][0] for i in batch], [seeds[i] for i in batch], sampling)
        for i, ids in zip(batch, rows, strict=True):
            replies[i] = str(backbone.tokenizer.decode(ids, skip_special_tokens=True))
    return replies


def _fit(
    backbone: Backbone, prompts: Sequence[tuple[list[int], int]], new_tokens: int
) -> list[tuple[list[int], int]]:
    limit = context_length(backbone.model)
    if limit is None:
        return list(prompts)
    fitted: list[tuple[list[int], int]] = []
    cut = 0
    for ids, keep in prompts:
        room = limit - new_tokens - keep
        if room < 1:
            raise InputError(
                f"must be less than the context of {limit}, found {new_tokens}", field="max_new_tokens"
            )
        excess = max(0, len(ids) - keep - room)
        cut += excess
        fitted.append((ids[:keep] + ids[keep + excess :], keep))
    if cut:
        _log.warning("prompts longer than the context of %d tokens: %d cut from their beginnings", limit, cut)
    return fitted


@torch.inference_mode()
def _generate_batch(
    backbone: Backbone, prompts: list[list[int]], seeds: list[int], sampling: Sampling
) -> list[list[int]]:
    device, width = backbone.device, max(map(len, prompts))
    # One uniform number for each token of a row, drawn ahead: no batch-wide generator to share.
    uniforms = torch.tensor(
        np.stack([np.random.default_rng(seed).random(sampling.max_new_tokens) for seed in seeds])
    ).to(device)
    tokenizer: Any = backbone.tokenizer
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id or 0)
    mask = torch.zeros(len(prompts), width + sampling.max_new_tokens, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    stops = torch.tensor(_stop_ids(backbone), device=device)
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    positions = (mask[:, :width].cumsum(-1) - 1).clamp(min=0)
    drawn: list[Tensor] = []
    past: Any = None
    for step in range(sampling.max_new_tokens):
        output: Any = backbone.model(
            input_ids=ids, attention_mask=mask[:, : width + step], position_ids=positions,
            past_key_values=past, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        past = output.past_key_values
        tokens = _draw(output.logits[:, -1].float(), uniforms[:, step], sampling.temperature)
        finished |= torch.isin(tokens, stops)
        drawn.append(torch.where(finished, -1, tokens))
        if bool(finished.all()):
            break
        ids, positions = tokens[:, None], positions[:, -1:] + 1
    rows = torch.stack(drawn, dim=1).cpu().tolist()
    return [[token for token in row if token >= 0] for row in rows]


def _stop_ids(backbone: Backbone) -> list[int]:
    """Every end-of-text token that the tokenizer or the generation config names."""
    config: Any = getattr(backbone.model, "generation_config", None)
    named: Any = getattr(config, "eos_token_id", None)
    tokenizer: Any = backbone.tokenizer
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    return sorted(i for i in ids if i is not None)


def _draw(
    logits: Float[Tensor, "rows vocabulary"], uniforms: Float[Tensor, " rows"], temperature: float
) -> Int[Tensor, " rows"]:
    """Inverse transform sampling: the first token at which the cumulated probability exceeds u."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulated = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    # The sum's last entry is 1 up to rounding; u times it never falls past the end.
    return torch.searchsorted(cumulated, uniforms[:, None] * cumulated[:, -1:], right=True).squeeze(1)
