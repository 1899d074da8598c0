"""Completions of many prompts into a file: from a model, a trained policy, an endpoint, or a guided model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from pluralign.core import InputError, SteeringWeights
from pluralign.core.digests import digest, source_digest
from pluralign.core.messages import Prompt
from pluralign.core.resumable import run_batches, run_unordered
from pluralign.core.splits import seed_for
from pluralign.data.columns import columns_of
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import load_language_policy
from pluralign.lm.adapter_tokenizer import warn_of_tokenizer
from pluralign.lm.backbone import Backbone, load_backbone, merged_backbone, resolve_dtype
from pluralign.lm.decoding import Decoding
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint import endpoint_model
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.generation import draw_completions
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.trunk import context_length
from pluralign.rewards.value_model import KIND
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.block_guides import Blocks
from pluralign.steer.budget import Budget
from pluralign.steer.budgeted import write_budgeted
from pluralign.steer.draws import draw_mixture_completions
from pluralign.steer.policies import load_policies
from pluralign.steer.value_guided import Guidance, open_value_guided_rows
from pluralign.steer.writing import Stream, Writer, endpoint_writer, local_writer, mixture_writer

_BATCH = 256
"""Number of completions that are sampled and written together."""


@dataclass(frozen=True)
class Guides:
    """Value models that guide a language model.

    Args:
        folders: Folder of each objective's value model.
        weights: Weights of the objectives.
        guidance: Strength, and number of candidates.

    Raises:
        InputError: A folder holds no value model, or a weight names an objective without one.
    """

    folders: Mapping[str, Path]
    weights: SteeringWeights
    guidance: Guidance = field(default_factory=Guidance)

    def __post_init__(self) -> None:
        self.weights.require_known(tuple(self.folders))
        # A value model of weight zero is not loaded.
        used = {name: Path(place) for name, place in self.folders.items() if self.weights.get(name, 0.0) > 0}
        for folder in used.values():
            read_card(folder, KIND)
        object.__setattr__(self, "folders", used)

    def described(self) -> dict[str, Any]:
        """Columns that record the guidance in each row."""
        return {
            "guides": {name: str(folder) for name, folder in self.folders.items()},
            "weights": dict(self.weights),
            "strength": self.guidance.strength,
            "candidates": self.guidance.candidates,
        }

    def digests(self) -> dict[str, Any]:
        """Digests of the folders' cards, which contain the digests of the other files."""
        return {name: source_digest(folder / CARD) for name, folder in self.folders.items()}


def open_writer(
    model: str, decoding: Decoding | None = None, *, adapter: Path | None = None,
    guides: Guides | Blocks | None = None, dtype: DTypeName = "auto", base: str | None = None,
    control_tokens: bool = False, endpoint: EndpointSettings | None = None,
) -> Writer:  # fmt: skip
    """Load a model that completes prompts.

    Args:
        model: Hub id, local folder, ``smollm2-135m``, a trained policy's folder, or ``openai:NAME``.
        decoding: Sampling settings.
        adapter: Folder of a PEFT adapter of the model.
        guides: Value models that guide every token, or guides of blocks.
        dtype: Floating-point type of the weights; ``auto`` is bfloat16 if the hardware supports it well.
        base: Base model of a trained policy's folder, if it was moved.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text, except for policies trained with this option.
        endpoint: URLs of an endpoint, numbers of requests and tries; None uses the defaults.

    Raises:
        InputError: The model, adapter or value models cannot be loaded or combined.
    """
    decoding = decoding or Decoding()
    if (remote := endpoint_model(model)) is not None:
        if adapter is not None:
            raise InputError(
                "an endpoint has no adapters; give the name of a model that it serves", field="adapter"
            )
        if guides is not None:
            raise InputError("an endpoint does not provide logits, which guidance requires", field="guides")
        return endpoint_writer(remote, endpoint, decoding)
    if base is not None and not (Path(model) / CARD).is_file():
        raise InputError(
            f"{model} is not the folder of a trained policy, which has a base model", field="base"
        )
    kind, template = resolve_dtype(dtype), "chat"
    opened: str | Backbone = model
    if (Path(model) / CARD).is_file():
        if adapter is not None:
            raise InputError(
                "a trained policy has its own adapter; give a model without one", field="adapter"
            )
        opened = load_language_policy(Path(model), dtype=kind, model=base)
        card = read_card(Path(model))
        template = str(card.get("template", "dialogue"))
        control_tokens = control_tokens or card.get("control_tokens") is True
    elif adapter is not None:
        opened = load_backbone(model, dtype=kind, adapter=adapter)
        warn_of_tokenizer(adapter, opened.tokenizer)
    if isinstance(guides, Guides) and guides.guidance.strength:
        rows = open_value_guided_rows(opened, guides.folders, guides.guidance, dtype=kind)
        draw = partial(draw_mixture_completions, rows, weights=guides.weights, decoding=decoding)
        own = TEMPLATES[template](rows.backbone.tokenizer, control_tokens)
        return local_writer(rows.backbone, own, decoding, draw, rows.context)
    backbone = load_backbone(opened, dtype=kind) if isinstance(opened, str) else opened
    own = TEMPLATES[template](backbone.tokenizer, control_tokens)
    if isinstance(guides, Blocks):
        one = AdapterRows(merged_backbone(backbone), {"model": None})
        return mixture_writer(one, own, SteeringWeights(model=1.0), decoding, guides)
    draw = partial(draw_completions, backbone, decoding=decoding)
    return local_writer(backbone, own, decoding, draw, context_length(backbone.model))


def open_policy_writer(
    model: str, policies: Mapping[str, Path], weights: SteeringWeights, decoding: Decoding | None = None, *,
    blocks: Blocks | None = None, dtype: DTypeName = "auto", control_tokens: bool = False,
) -> Writer:  # fmt: skip
    """Load a mixture of policies that completes prompts.

    Args:
        model: Base model of the policies.
        policies: Folder of each policy, by objective.
        weights: Weights of the policies.
        decoding: Sampling settings.
        blocks: Guides that choose among several draws of each block.
        dtype: Floating-point type of the weights.
        control_tokens: Whether prompts that are texts may contain control tokens by name; see `open_writer`.

    Raises:
        InputError: See `load_policies` and `mixture_writer`.
    """
    found = load_policies(model, policies, dtype=dtype, control_tokens=control_tokens)
    return mixture_writer(found.rows, found.conversations, weights, decoding or Decoding(), blocks)


def write_completions(
    writer: Writer, prompts: Sequence[Prompt], out: Path, *, samples: int | Budget = 1, seed: int = 0,
    columns: Mapping[str, Any] | None = None, run: Mapping[str, Any] | None = None, shown: bool = True,
) -> list[int]:  # fmt: skip
    """Complete prompts into a JSON-lines file, one completion per row; an interrupted run continues.

    A completion depends on its prompt, its sample number and the seed only, not on the other prompts.

    >>> from tempfile import TemporaryDirectory
    >>> writer = open_writer("tiny-random", Decoding(max_new_tokens=4), dtype="float32")
    >>> with TemporaryDirectory() as folder:
    ...     out = Path(folder) / "draws.jsonl"
    ...     write_completions(writer, ["Hello", "Good morning"], out, samples=2, shown=False)
    [2, 2]

    Args:
        writer: Model that completes the prompts.
        prompts: Texts or messages, each once.
        out: File to write: ``prompt``, ``completion``, ``sample`` and the columns; from an endpoint also
            ``finish_reason``, and from blocks ``tokens`` and ``drawn`` (`BlockAnswer`) as well. Under a
            budget also ``reward``, which the budget compares, ``best``, whether it is the prompt's highest,
            ``samples_drawn``, the prompt's number of completions, and with several rewards ``rewards``.
        samples: Number of completions per prompt, or a budget, by which their rewards decide it.
        seed: Random seed.
        columns: Further columns with a constant value, to record how the completions were sampled.
        run: Settings that the completions depend on; if they changed, rows of an interrupted run are
            discarded.
        shown: Whether to show a progress bar on a terminal.

    Returns:
        Number of completions of each prompt.

    Raises:
        InputError: Fewer than one sample, the file cannot be written, or an endpoint refuses a prompt or does
            not answer (completions written so far are kept); or see `write_budgeted`.
    """
    if isinstance(samples, Budget):
        return write_budgeted(
            writer, prompts, out, samples, seed=seed, columns=columns or {}, run=run or {}, shown=shown
        )
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    texts = [writer.text(prompt) for prompt in prompts]
    draws = [
        # The prompt's position in the file is not used, so earlier prompts have no effect.
        _Draw(number, sample, seed_for(f"{sample} {text}", seed))
        for number, text in enumerate(texts)
        for sample in range(samples)
    ]
    read = digest([json.dumps(texts).encode()])
    settings = {"samples": samples, "seed": seed, **(columns or {}), **(run or {}), "texts": read}

    def row(draw: _Draw, completion: str, **more: Any) -> dict[str, Any]:
        prompt = prompts[draw.prompt]
        own = {"prompt": prompt, **columns_of(prompt), "completion": completion, "sample": draw.sample}
        return {**own, **(columns or {}), **more}

    if writer.stream is not None:
        work = partial(_streamed, writer.stream, prompts, draws, row)
        run_unordered(out, settings, len(draws), work, unit="completion", shown=shown)
        return [samples] * len(prompts)

    def batch_rows(some: Sequence[_Draw]) -> list[dict[str, Any]]:
        # A prompt is read once for all its samples in the batch.
        groups = [(number, list(own)) for number, own in groupby(some, key=lambda draw: draw.prompt)]
        seeds = [[draw.seed for draw in own] for _, own in groups]
        found = writer.draw([prompts[number] for number, _ in groups], seeds)
        return [row(draw, text) for draw, text in zip(some, chain.from_iterable(found), strict=True)]

    # Whole prompts where possible, so that each is read once.
    batch = _BATCH // samples * samples or _BATCH
    run_batches(out, settings, draws, batch_rows, batch=batch, unit="completion", shown=shown)
    return [samples] * len(prompts)


class _Draw(NamedTuple):
    """A completion to draw: number of the prompt, number of the sample, and seed."""

    prompt: int
    sample: int
    seed: int


def _streamed(
    stream: Stream, prompts: Sequence[Prompt], draws: Sequence[_Draw], row: Callable[..., dict[str, Any]],
    missing: Sequence[int],
) -> Iterator[tuple[int, dict[str, Any]]]:  # fmt: skip
    """Rows of the missing draws as they are finished, with their numbers; errors say how many there are."""
    some, done = [draws[number] for number in missing], len(draws) - len(missing)
    try:
        for i, text, more in stream([prompts[draw.prompt] for draw in some], [draw.seed for draw in some]):
            yield missing[i], row(some[i], text, **more)
            done += 1
    except InputError as error:
        number = None if error.row is None else some[error.row - 1].prompt + 1
        kept = f"{done} of {len(draws)} completions are kept, and the same command continues"
        raise InputError(f"{error.message}; {kept}", row=number, field="prompt") from error
