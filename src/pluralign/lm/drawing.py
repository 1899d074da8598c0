"""Samples of several prompts that are drawn together, token by token; those that have ended leave."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding, TokenSampler, draw_tokens, sampling_device
from pluralign.lm.partial_text import PartialText
from pluralign.lm.passes import run_layout
from pluralign.lm.plain import Continuation
from pluralign.lm.sample_attention import SampleLayout
from pluralign.lm.tensors import to_list
from pluralign.lm.vocabulary import vocabulary_logits

# Share of the samples that may be left without the others' being removed: removing copies keys.
_LEFT = 0.75


class Rows(Protocol):
    """Samples that are continued together, equally many of each prompt, prompt by prompt."""

    def after(self, tokens: Tensor, step: int) -> Float[Tensor, "rows d"]:
        """Append a token to each sample.

        Args:
            tokens: The samples' tokens.
            step: Number of tokens that each sample has already.

        Returns:
            Hidden states after these tokens.
        """
        ...

    def select(self, prompts: Sequence[int], samples: Sequence[Sequence[int]]) -> None:
        """Keep these prompts, and of each of them these samples, equally many."""
        ...


class SharedPrompts:
    """Samples that share the keys of their prompts.

    Args:
        model: Model that writes.
        layout: Keys of the prompts and of the samples.
        lengths: Number of tokens of each prompt.
    """

    def __init__(self, model: PreTrainedModel, layout: SampleLayout, lengths: Sequence[int]) -> None:
        self._model: Any = model
        self._layout, self._lengths = layout, torch.tensor(lengths, device=model.device)

    def after(self, tokens: Tensor, step: int) -> Float[Tensor, "rows d"]:
        """See `Rows`."""
        self._layout.step = step
        positions = self._lengths.repeat_interleave(len(tokens) // len(self._lengths)) + step
        output = run_layout(self._model, self._layout, positions[None], input_ids=tokens[None])
        return output.last_hidden_state[0]

    def select(self, prompts: Sequence[int], samples: Sequence[Sequence[int]]) -> None:
        """See `Rows`."""
        index = torch.tensor(prompts, device=self._lengths.device)
        self._layout.select(index, torch.tensor(samples, device=index.device))
        self._lengths = self._lengths[index]


class Sequences:
    """Samples that are sequences of their own.

    Args:
        rows: The sequences, prompt by prompt.
        samples: Number of samples of each prompt.
    """

    def __init__(self, rows: Continuation, samples: int) -> None:
        self._rows, self._samples = rows, samples

    def after(self, tokens: Tensor, step: int) -> Float[Tensor, "rows d"]:
        """See `Rows`."""
        return self._rows.step(to_list(tokens))

    def select(self, prompts: Sequence[int], samples: Sequence[Sequence[int]]) -> None:
        """See `Rows`."""
        pairs = zip(prompts, samples, strict=True)
        self._rows.select([prompt * self._samples + sample for prompt, own in pairs for sample in own])
        self._samples = len(samples[0])


def continue_samples(
    backbone: Backbone, rows: Rows, logits: Float[Tensor, "prompts vocabulary"], seeds: list[list[int]],
    decoding: Decoding, stops: Collection[int],
) -> list[list[list[int]]]:  # fmt: skip
    """Draw samples until each has ended.

    Args:
        backbone: Model that writes.
        rows: The samples.
        logits: Logits of each prompt's next token.
        seeds: Seeds of each prompt's samples, equally many.
        decoding: How tokens are chosen, and texts at which samples end.
        stops: Tokens at which samples end.

    Returns:
        For each prompt the token ids of its samples, with the token at which they ended.
    """
    device, samples, most = backbone.device, len(seeds[0]), decoding.max_new_tokens
    # One uniform number for each token of a sample, drawn ahead: no batch-wide generator to share.
    numbers = [np.random.default_rng(seed).random(most) for own in seeds for seed in own]
    uniforms = torch.tensor(np.stack(numbers)).to(sampling_device(device))
    texts = [PartialText(backbone.tokenizer, decoding.stop) for _ in numbers] if decoding.stop else []
    logits = logits.repeat_interleave(samples, dim=0)
    filtered = decoding.top_k or decoding.top_p < 1 or decoding.min_p
    sampler = TokenSampler([decoding] * len(numbers), device)
    drawn: list[list[int]] = [[] for _ in numbers]
    ended: set[int] = set()
    # Numbers of each prompt's samples that are left.
    left: list[list[int]] = [list(range(first, first + samples)) for first in range(0, len(numbers), samples)]
    for step in range(most):
        if filtered:
            tokens = sampler.choose(logits, uniforms[:, step])
        else:
            tokens = draw_tokens(logits, uniforms[:, step], decoding.temperature)
        chosen: list[int] = to_list(tokens)
        for number, token in zip((n for own in left for n in own), chosen, strict=True):
            if number not in ended:
                drawn[number].append(token)
                if token in stops or (texts and texts[number].add(token, last=False)[1]):
                    ended.add(number)
        if step + 1 == most or len(ended) == len(numbers):
            break
        if (kept := _unfinished(left, ended)) is not None:
            prompts, places = kept
            rows.select(prompts, places)
            width = len(left[0])
            pairs = list(zip(prompts, places, strict=True))
            flat = torch.tensor([prompt * width + place for prompt, own in pairs for place in own])
            before = left
            left = [[before[prompt][place] for place in own] for prompt, own in pairs]
            tokens, uniforms = tokens[flat.to(tokens.device)], uniforms[flat.to(uniforms.device)]
            sampler = TokenSampler([decoding] * len(flat), device)
        logits = vocabulary_logits(backbone.model, rows.after(tokens, step))
    return [drawn[first : first + samples] for first in range(0, len(numbers), samples)]


def _unfinished(
    left: Sequence[Sequence[int]], ended: Collection[int]
) -> tuple[list[int], list[list[int]]] | None:
    """Prompts that have samples to continue, and the places of as many samples of each as the one with most
    has, those to continue first; None where too few would be removed."""
    open_ = [sum(number not in ended for number in own) for own in left]
    most, prompts = max(open_), [i for i, count in enumerate(open_) if count]
    if len(prompts) * most > _LEFT * len(left) * len(left[0]):
        return None
    orders = [sorted(range(len(left[i])), key=lambda place, i=i: left[i][place] in ended) for i in prompts]
    return prompts, [order[:most] for order in orders]
