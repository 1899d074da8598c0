"""Models that complete prompts, on this machine or at an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import DIALOGUE, Prompt, Template
from pluralign.lm.backbone import Backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.endpoint import Endpoint
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.prompts import PromptIds, fit_prompts, prompt_ids
from pluralign.steer.block_decoder import BlockDecoder
from pluralign.steer.block_guides import Blocks
from pluralign.steer.draws import draw_mixture_completions
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.requests import Request

Stream = Callable[[Sequence[Prompt], Sequence[int]], Iterator[tuple[int, str, Mapping[str, Any]]]]
"""Function from prompts and one seed for each to (number of the prompt, completion, further columns), in any
order."""


@dataclass(frozen=True)
class Writer:
    """A model that completes prompts; created by `open_writer`.

    Args:
        template: Template from messages to the text that is continued.
        draw: Function from prompts and the seeds of each prompt's samples to each prompt's completions.
        cut: Function from prompts to the number of those that are longer than the context.
        stream: Function from prompts and one seed for each to their completions as they are finished; used
            in place of ``draw`` where given.
    """

    template: Template
    draw: Callable[[Sequence[Prompt], Sequence[Sequence[int]]], list[list[str]]]
    cut: Callable[[Sequence[Prompt]], int]
    stream: Stream | None = None

    def answers(
        self, prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]
    ) -> list[list[tuple[str, Mapping[str, Any]]]]:
        """Completions of each prompt, one per seed, with further columns of each.

        Raises:
            InputError: An endpoint refuses a prompt (``row`` is its number) or does not answer.
        """
        if self.stream is None:
            return [[(text, {}) for text in own] for own in self.draw(prompts, seeds)]
        places = [(number, seed) for number, own in enumerate(seeds) for seed in own]
        found: dict[int, tuple[str, Mapping[str, Any]]] = {}
        try:
            for i, text, more in self.stream([prompts[k] for k, _ in places], [seed for _, seed in places]):
                found[i] = (text, more)
        except InputError as error:
            row = None if error.row is None else places[error.row - 1][0] + 1
            raise InputError(error.message, row=row, field=error.field) from error
        ordered = iter([found[i] for i in range(len(places))])
        return [[next(ordered) for _ in own] for own in seeds]

    def text(self, prompt: Prompt) -> str:
        """A prompt as the text that is continued."""
        return prompt if isinstance(prompt, str) else self.template(prompt, True)


def local_writer(
    backbone: Backbone, template: Template, decoding: Decoding, draw: Callable[..., list[list[str]]],
    context: int | None,
) -> Writer:  # fmt: skip
    """A writer that draws all completions of some prompts together.

    Args:
        backbone: Model with the tokenizer.
        template: Template of messages.
        decoding: Sampling settings.
        draw: Function of ``prompts`` (token ids) and ``seeds``; see `draw_completions`.
        context: Largest number of tokens of a prompt with its completion; None for no limit.
    """
    ids = partial(_prompt_ids, backbone.tokenizer, template)

    def answers(prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        drawn = draw(prompts=ids(prompts), seeds=seeds)
        return [
            texts if isinstance(prompt, str) else [template.bare_answer(text) for text in texts]
            for prompt, texts in zip(prompts, drawn, strict=True)
        ]

    return Writer(
        template, answers, lambda prompts: fit_prompts(ids(prompts), context, decoding.max_new_tokens)[1]
    )


def mixture_writer(
    rows: PolicyRows, template: Template, weights: SteeringWeights, decoding: Decoding,
    blocks: Blocks | None = None,
) -> Writer:  # fmt: skip
    """A writer that is a mixture of policies.

    Args:
        rows: The policies.
        template: Template of messages.
        weights: Weights of the policies.
        decoding: Sampling settings.
        blocks: Guides that choose among several draws of each block; None for plain sampling.

    Raises:
        InputError: A weight names another policy, or see `BlockDecoder`.
    """
    weights.require_known(rows.names)
    draw = partial(draw_mixture_completions, rows, weights=weights, decoding=decoding)
    writer = local_writer(rows.backbone, template, decoding, draw, rows.context)
    if blocks is None:
        return writer
    blocks.require_sampling(decoding)
    decoder = BlockDecoder(rows, blocks)
    talking = replace(decoding, stop=(*decoding.stop, *template.stops))

    def stream(
        prompts: Sequence[Prompt], seeds: Sequence[int]
    ) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
        encoded = _prompt_ids(rows.backbone.tokenizer, template, prompts)
        fitted, _ = fit_prompts(encoded, rows.context, decoding.max_new_tokens)
        asked = [
            (prompt, Request(ids, weights, decoding, seed, joined=True) if isinstance(prompt, str)
             else Request(ids, weights, talking, seed, template.lead, joined=True))
            for prompt, ids, seed in zip(prompts, fitted, seeds, strict=True)
        ]  # fmt: skip
        for number, answer in decoder.answers(asked):
            yield number, answer.text, {
                "finish_reason": answer.finish_reason, "tokens": answer.tokens, "drawn": answer.drawn
            }  # fmt: skip

    return replace(writer, stream=stream)


def endpoint_writer(model: str, settings: EndpointSettings | None, decoding: Decoding) -> Writer:
    """A writer that is a model at an endpoint.

    Args:
        model: Name of the model there.
        settings: URLs, numbers of requests and tries; None for the defaults.
        decoding: Sampling settings.

    Raises:
        InputError: Endpoints do not support a sampling setting.
    """
    if decoding.top_p < 1 or decoding.top_k or decoding.min_p or decoding.stop:
        raise InputError(
            "endpoints support temperature only, not top_p, top_k, min_p or stop", field="decoding"
        )
    endpoint = Endpoint(model, settings)

    def stream(
        prompts: Sequence[Prompt], seeds: Sequence[int]
    ) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
        for number, reply in endpoint.replies(
            prompts, seeds, max_new_tokens=decoding.max_new_tokens, temperature=decoding.temperature
        ):
            yield number, reply.text, {"finish_reason": reply.finish_reason}

    def draw(prompts: Sequence[Prompt], seeds: Sequence[Sequence[int]]) -> list[list[str]]:
        given = [prompt for prompt, own in zip(prompts, seeds, strict=True) for _ in own]
        found = {number: text for number, text, _ in stream(given, [seed for own in seeds for seed in own])}
        texts = iter([found[i] for i in range(len(given))])
        return [[next(texts) for _ in own] for own in seeds]

    return Writer(DIALOGUE, draw, lambda prompts: 0, stream)


def _prompt_ids(
    tokenizer: PreTrainedTokenizerBase, template: Template, prompts: Sequence[Prompt]
) -> list[PromptIds]:
    texts = [
        template.quote_prompt(prompt) if isinstance(prompt, str) else template(prompt, True)
        for prompt in prompts
    ]
    return [prompt_ids(tokenizer, text) for text in texts]
