"""Completions of prompts by a mixture of policies."""

from __future__ import annotations

from collections.abc import Sequence

from pluralign.core import SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.lm.prompts import PromptIds, fit_prompts
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.requests import Request


def draw_mixture_completions(
    rows: PolicyRows,
    prompts: Sequence[PromptIds],
    seeds: Sequence[Sequence[int]],
    weights: SteeringWeights,
    decoding: Decoding,
) -> list[list[str]]:
    """Continue each prompt several times with a mixture; see `lm.generation.draw_completions`.

    Args:
        rows: Rows of the policies, or of a language model and its value models.
        prompts: Token ids of each prompt, at least one.
        seeds: Seeds of each prompt's samples.
        weights: Weights of the objectives.
        decoding: Sampling settings.

    Returns:
        For each prompt, one completion per seed, without special tokens.

    Raises:
        InputError: An objective is unknown; or see `draw_completions`.
    """
    fitted, _ = fit_prompts(prompts, rows.context, decoding.max_new_tokens)
    drawn = iter(
        MixtureDecoder(rows).generate(
            [
                Request(ids, weights, decoding, seed, joined=True)
                for ids, own in zip(fitted, seeds, strict=True)
                for seed in own
            ]
        )
    )
    return [[next(drawn) for _ in own] for own in seeds]
