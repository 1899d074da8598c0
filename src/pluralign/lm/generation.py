"""Sampling of completions: each prompt is read once, and its samples are drawn next to each other.

Random numbers belong to the sample and not to the batch.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch

from pluralign.core import InputError
from pluralign.core.splits import seed_for
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.drawing import Sequences, SharedPrompts, continue_samples
from pluralign.lm.forest import Tree, plant
from pluralign.lm.packed import packed
from pluralign.lm.partial_text import PartialText
from pluralign.lm.passes import run_layout
from pluralign.lm.prompts import PromptIds, end_of_turn_ids, fit_prompts, prompt_ids
from pluralign.lm.sample_attention import PromptLayout, SampleLayout
from pluralign.lm.support import support_of
from pluralign.lm.trunk import context_length
from pluralign.lm.vocabulary import vocabulary_logits

_log = logging.getLogger(__name__)


def row_seeds(texts: Sequence[str], seed: int | Sequence[int]) -> list[int]:
    """A seed for each row, from its text, the seed, and the number of equal rows before it.

    Raises:
        InputError: The number of seeds is not that of texts.
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


def require_writer(backbone: Backbone) -> None:
    """Check that a model can write texts here.

    Raises:
        InputError: It is an encoder-decoder.
    """
    if backbone.model.config.is_encoder_decoder:
        raise InputError(
            f"{backbone.name!r} is an encoder-decoder, which pluralign scores with but does not write with"
        )


def draw_completions(
    backbone: Backbone,
    prompts: Sequence[PromptIds],
    seeds: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    token_budget: int = 16384,
) -> list[list[str]]:
    """Continue each prompt several times, each time until its end-of-text token or a stop text.

    A prompt goes through the model once, whatever the number of its samples, which then share its keys and
    values; samples that have ended leave the batch. A completion depends on its prompt and its seed alone (in
    float32; bfloat16's rounding may tip a close call). Of a prompt longer than the context allows, the end is
    kept.

    Args:
        backbone: Model that writes, decoder-only.
        prompts: Token ids of each prompt, at least one.
        seeds: Seeds of each prompt's samples.
        decoding: How tokens are chosen.
        token_budget: Number of tokens that have their keys and values in memory at a time (with SmolLM2-135M
            23 kB each in bfloat16).

    Returns:
        For each prompt a completion for each of its seeds, without special tokens.

    Raises:
        InputError: See `draw_ids`.
    """
    stops = set(stop_ids(backbone))
    drawn = draw_ids(backbone, prompts, seeds, decoding, token_budget=token_budget)

    def text(prompt: PromptIds, ids: Sequence[int]) -> str:
        said = PartialText(backbone.tokenizer, before=prompt.ids[-1:])
        said.ids += [i for i in ids if i not in stops]
        return decoding.cut(said.decoded())

    return [[text(prompt, ids) for ids in own] for prompt, own in zip(prompts, drawn, strict=True)]


def draw_ids(
    backbone: Backbone,
    prompts: Sequence[PromptIds],
    seeds: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    token_budget: int = 16384,
) -> list[list[list[int]]]:
    """Token ids of each prompt's samples, up to the end-of-text token or to the token that completes a stop
    text.

    Args:
        backbone: See `draw_completions`.
        prompts: See `draw_completions`.
        seeds: See `draw_completions`.
        decoding: How tokens are chosen.
        token_budget: See `draw_completions`.

    Raises:
        InputError: A prompt without tokens, an encoder-decoder, or more new tokens than the context holds.
    """
    require_writer(backbone)
    fitted, cut = fit_prompts(prompts, context_length(backbone.model), decoding.max_new_tokens)
    if cut:
        _log.warning("%d of %d prompts were longer than the context; their ends were kept", cut, len(prompts))
    found: list[list[list[int]]] = [[] for _ in seeds]
    lengths = [len(ids) for ids in fitted]
    support = support_of(backbone.model)
    together = [support.decodes(length + decoding.max_new_tokens) for length in lengths]
    with packed(backbone.model):
        for batch in _batches(lengths, seeds, decoding.max_new_tokens, token_budget, together):
            draw = _draw_batch if together[batch[0]] else _draw_plain
            rows = draw(
                backbone, [fitted[i] for i in batch], [seeds[i] for i in batch], decoding, token_budget
            )
            for i, own in zip(batch, rows, strict=True):
                found[i] = own
    return found


def draw_samples(
    policy: Backbone, prompts: Sequence[str], samples: int, decoding: Decoding, *, seed: int, label: str
) -> dict[str, list[str]]:
    """Completions of each prompt, which depend on the policy, the prompt, the seed and the label alone.

    >>> from pluralign.lm.backbone import load_backbone
    >>> drawn = draw_samples(load_backbone("tiny-random"), ["Hello"], 2, Decoding(4), seed=0, label="")
    >>> len(drawn["Hello"])
    2

    Args:
        policy: Model that writes.
        prompts: Texts to continue, each once.
        samples: Number of completions of each prompt.
        decoding: How tokens are chosen.
        seed: Random seed of the run.
        label: Purpose of the samples: another label gives other samples.
    """
    ids = [prompt_ids(policy.tokenizer, prompt) for prompt in prompts]
    seeds = [[seed_for(f"{label} {i} {prompt}", seed) for i in range(samples)] for prompt in prompts]
    return dict(zip(prompts, draw_completions(policy, ids, seeds, decoding), strict=True))


def _batches(
    lengths: Sequence[int], seeds: Sequence[Sequence[int]], new_tokens: int, budget: int,
    together: Sequence[bool],
) -> Iterator[list[int]]:  # fmt: skip
    """Prompts with equal numbers of samples and similar lengths, as many as the budget holds.

    Those that cannot be read ``together`` come first, in batches of equal lengths.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for i in range(len(lengths)):
        if seeds[i] and not together[i]:
            alike.setdefault((lengths[i], len(seeds[i])), []).append(i)
    for (length, samples), batch in alike.items():
        count = max(1, budget // (samples * (length + new_tokens)))
        yield from (batch[first : first + count] for first in range(0, len(batch), count))
    order = [i for i in range(len(lengths)) if seeds[i] and together[i]]
    order.sort(key=lambda i: (len(seeds[i]), -lengths[i]))
    while order:
        samples, longest = len(seeds[order[0]]), lengths[order[0]]
        count = max(1, budget // (longest + samples * new_tokens))
        batch = [i for i in order[:count] if len(seeds[i]) == samples]
        yield batch
        order = order[len(batch) :]


@torch.inference_mode()
def _draw_batch(
    backbone: Backbone, prompts: list[list[int]], seeds: list[Sequence[int]], decoding: Decoding, budget: int
) -> list[list[list[int]]]:
    """Token ids of every sample of prompts that have equally many."""
    model: Any = backbone.model
    # A prompt's last token is its tree's branch, so that its hidden state is the one that is read.
    forests = plant([Tree(ids[:-1], [ids[-1:]]) for ids in prompts], sum(map(len, prompts)))
    (forest,) = [forest.to(backbone.device) for forest in forests]
    layout = PromptLayout(forest)
    hidden = run_layout(model, layout, forest.position_ids, input_ids=forest.input_ids).last_hidden_state[0]
    logits = vocabulary_logits(model, hidden[forest.ends])
    lengths = [len(ids) for ids in prompts]
    found: list[list[list[int]]] = [[] for _ in prompts]
    # Where not even one prompt's samples fit the budget, they are drawn in parts, from the same keys.
    part = max(1, budget // (len(prompts) * decoding.max_new_tokens))
    for first in range(0, len(seeds[0]), part):
        own = [list(s[first : first + part]) for s in seeds]
        samples = SampleLayout(
            layout.kept, lengths, range(len(prompts)), len(own[0]), decoding.max_new_tokens
        )
        rows = SharedPrompts(model, samples, lengths)
        drawn = continue_samples(backbone, rows, logits, own, decoding, stop_ids(backbone))
        for whole, more in zip(found, drawn, strict=True):
            whole += more
    return found


@torch.inference_mode()
def _draw_plain(
    backbone: Backbone, prompts: list[list[int]], seeds: list[Sequence[int]], decoding: Decoding, budget: int
) -> list[list[list[int]]]:
    """Token ids of every sample of prompts of equal length, each sample a sequence of its own."""
    model = backbone.model
    part = max(1, budget // (len(prompts) * (len(prompts[0]) + decoding.max_new_tokens)))
    found: list[list[list[int]]] = [[] for _ in prompts]
    for first in range(0, len(seeds[0]), part):
        own = [list(s[first : first + part]) for s in seeds]
        rows = support_of(model).continuation(model, prompts)
        logits = vocabulary_logits(model, rows.states)
        rows.select([i for i in range(len(prompts)) for _ in own[0]])
        each = Sequences(rows, len(own[0]))
        drawn = continue_samples(backbone, each, logits, own, decoding, stop_ids(backbone))
        for whole, more in zip(found, drawn, strict=True):
            whole += more
    return found


def stop_ids(backbone: Backbone) -> list[int]:
    """Ids of every end-of-text token that the tokenizer or the generation config names, and of the end of an
    assistant's turn."""
    return end_ids(backbone.tokenizer, getattr(backbone.model, "generation_config", None))


def end_ids(tokenizer: Any, config: Any) -> list[int]:
    """`stop_ids` of a tokenizer and a generation config, which may be None."""
    named: Any = getattr(config, "eos_token_id", None)
    turns = end_of_turn_ids(tokenizer)
    several = cast("list[int | None]", named) if isinstance(named, list) else [named]
    ids: set[int | None] = {tokenizer.eos_token_id, *several, *turns}
    return sorted(i for i in ids if i is not None)
