"""``pluralign generate``: model or trained policy x prompts -> completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.cli.guides import Guides, read_guides
from pluralign.core import InputError
from pluralign.core.digests import source_digest
from pluralign.core.messages import Render, dialogue
from pluralign.core.resumable import run_batches
from pluralign.core.splits import seed_for
from pluralign.data import Prompt, load_prompts
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import load_language_policy
from pluralign.lm.backbone import Backbone, fast_dtype, load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.generation import draw_completions
from pluralign.lm.prompts import TEMPLATES, PromptIds, fit_prompts, prompt_ids
from pluralign.lm.trunk import context_length
from pluralign.options.open import DEFAULT_MODEL
from pluralign.steer.value_guided import draw_guided_completions, open_value_guided_rows

_ENDPOINT = "openai:"
_BATCH = 256
"""Completions that are drawn, and written, together."""


@dataclass(frozen=True)
class _Source:
    """Where completions come from.

    Args:
        render: makes text of messages.
        draw: completions of prompts, for each prompt one for each of its seeds.
        cut: how many of the prompts are too long.
    """

    render: Render
    draw: Callable[[Sequence[Prompt], Sequence[Sequence[int]]], list[list[str]]]
    cut: Callable[[Sequence[Prompt]], int]


def generate_texts(
    prompts: str,
    out: Path,
    model: str = DEFAULT_MODEL,
    adapter: Path | None = None,
    samples: int = 1,
    max_new_tokens: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    limit: int | None = None,
    guides: tuple[str, ...] = (),
    weights: str | None = None,
    strength: float | None = None,
    candidates: int | None = None,
    exact: bool = False,
    json: JsonFile = None,
) -> None:
    """Let a language model, an endpoint, or a policy learned by sft, dpo, spin or ava, complete prompts.

    A prompt that is a text is continued as it stands; one of messages is rendered by the template that a
    policy was trained with, or a model's own. A prompt that occurs again is drawn for once, an empty one is
    left out, and of one longer than the context the end is kept: each is counted and told. An interrupted run
    continues; a sample depends on its prompt, its number and the seed alone.

    With --guides, value models (pluralign learn value) lead the sampling: each token is one of the likeliest,
    with STRENGTH times the weighted sum of their values added to its logit.

    Example: pluralign generate --model runs/sft --prompts hh/harmless.jsonl.gz --samples 64 --out draws.jsonl

    Args:
        prompts: a file with a column "prompt" (texts or messages), with "messages" or with TRL's "chosen" and
            "rejected", whose prompt is taken; a folder or hub id; or a .txt, one prompt a line.
        out: the JSON-lines file to write: prompt, completion, sample, and how it was drawn.
        model: smollm2-135m, a hub id, a local folder, a trained policy's folder, or openai:NAME.
        adapter: folder of a PEFT adapter to put on the model.
        samples: completions of each prompt.
        max_new_tokens: completions are cut off there.
        temperature: 0 takes the likeliest token.
        seed: of the samples.
        limit: take the first so many prompts alone.
        guides: NAME=DIR of each objective's value model.
        weights: of the guides, as NAME=NUMBER,NAME=NUMBER; equal by default. Weight 0 costs nothing.
        strength: of the guides, nats for a standard deviation of the rewards that they were learned from; 1
            by default, 0 is the model as it is.
        candidates: so many of the likeliest tokens are looked at; 20 by default.
        exact: compute in float32 where bfloat16 would be faster.
        json: a file for the figures.
    """
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    sampling = Decoding(max_new_tokens, temperature)
    led = read_guides(guides, weights, strength, candidates)
    source = _open(
        model, adapter, exact, sampling, led if led is not None and led.guidance.strength else None
    )
    found = load_prompts(prompts, template=source.render, limit=limit)
    counts = {**found.counts, "cut": source.cut(found)}
    drawn = {
        "model": model, "adapter": None if adapter is None else str(adapter),
        "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed,
        **({} if led is None else led.described()),
    }  # fmt: skip
    digests = {} if led is None else {"guide_cards": led.digests()}
    run = {
        **drawn,
        **digests,
        "samples": samples,
        "prompts": source_digest(prompts),
        "exact": exact,
        "limit": limit,
    }
    items = [(prompt, sample) for prompt in found for sample in range(samples)]

    def draw(batch: Sequence[tuple[Prompt, int]]) -> list[dict[str, Any]]:
        # A prompt is read once for all its samples in the batch.
        own = [(prompt, [i for _, i in some]) for prompt, some in groupby(batch, key=itemgetter(0))]
        # The prompt's place in the file plays no part: other prompts before it change nothing.
        seeds = [[seed_for(f"{i} {prompt.text}", seed) for i in numbers] for prompt, numbers in own]
        completions = source.draw([prompt for prompt, _ in own], seeds)
        return [
            {"prompt": prompt.given, "completion": text, "sample": sample, **drawn}
            for (prompt, numbers), texts in zip(own, completions, strict=True)
            for sample, text in zip(numbers, texts, strict=True)
        ]

    # Whole prompts where possible, so that each is read once.
    batch = _BATCH // samples * samples or _BATCH
    run_batches(out, run, items, draw, batch=batch, unit="completion")
    told = [f"{value} {_TOLD[name]}" for name, value in counts.items() if value and name in _TOLD]
    wrote(out, "; ".join([f"{len(items)} completions of {len(found)} prompts", *told]))
    give_figures({**counts, "prompts": len(found), "completions": len(items)}, json)


_TOLD = {
    "repeated": "repeated prompts drawn for once",
    "empty": "empty prompts left out",
    "unusable": "rows without one prompt left out",
    "cut": "prompts cut to the context, their ends kept",
}


def _open(
    model: str, adapter: Path | None, exact: bool, sampling: Decoding, guides: Guides | None
) -> _Source:
    if model.startswith(_ENDPOINT):
        if adapter is not None:
            raise InputError("an endpoint serves its own models; give one by its name there", field="adapter")
        if guides is not None:
            raise InputError("an endpoint does not show its tokens' logits to guides", field="guides")
        return _endpoint(Endpoint(model.removeprefix(_ENDPOINT)), sampling)
    import torch

    dtype = torch.float32 if exact else fast_dtype()
    folder, template = Path(model), "chat"
    base: str | Backbone = model
    if (folder / CARD).is_file():
        if adapter is not None:
            raise InputError("a trained policy has its own; give a model without one", field="adapter")
        base = load_language_policy(folder, dtype=dtype)
        template = str(read_card(folder).get("template", "dialogue"))
    elif adapter is not None:
        base = load_backbone(model, dtype=dtype, adapter=adapter)
    if guides is None:
        backbone = load_backbone(base, dtype=dtype) if isinstance(base, str) else base
        return _local(backbone, template, sampling, partial(draw_completions, backbone, decoding=sampling))
    rows = open_value_guided_rows(base, guides.folders, guides.guidance, dtype=dtype)
    draw = partial(draw_guided_completions, rows, weights=guides.weights, decoding=sampling)
    return _local(rows.backbone, template, sampling, draw)


def _local(
    backbone: Backbone, template: str, sampling: Decoding, draw: Callable[..., list[list[str]]]
) -> _Source:
    def ids(prompts: Sequence[Prompt]) -> list[PromptIds]:
        return [prompt_ids(backbone.tokenizer, prompt.text) for prompt in prompts]

    context = context_length(backbone.model)
    return _Source(
        lambda messages, opens: TEMPLATES[template](backbone.tokenizer)(messages, opens),
        lambda prompts, seeds: draw(prompts=ids(prompts), seeds=seeds),
        lambda prompts: fit_prompts(ids(prompts), context, sampling.max_new_tokens)[1],
    )


def _endpoint(endpoint: Endpoint, sampling: Decoding) -> _Source:
    def draw(prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        given = [p.given for p, own in zip(prompts, seeds, strict=True) for _ in own]
        flat = [seed for own in seeds for seed in own]
        replies = iter(
            endpoint.complete(
                given, max_new_tokens=sampling.max_new_tokens, temperature=sampling.temperature, seeds=flat
            )
        )
        return [[next(replies) for _ in own] for own in seeds]

    return _Source(dialogue, draw, lambda prompts: 0)
