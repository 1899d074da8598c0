"""Log-probabilities of a prompt's tokens under a mixture, read in parts."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.steer.mixture_batch import token_log_probs
from pluralign.steer.policy_rows import PolicyRows, Size
from pluralign.steer.prediction import StatePrediction, joined
from pluralign.steer.requests import TokenLogProb


@torch.inference_mode()
def score_prompt(
    rows: PolicyRows, policies: Mapping[int, float], ids: Sequence[int], alternatives: int, power: float,
    size: Size,
) -> Generator[int, None, list[TokenLogProb | None]]:  # fmt: skip
    """Log-probability of each of a prompt's tokens, given those before it.

    Args:
        rows: The policies.
        policies: Weights of the policies in the mixture, by number.
        ids: Token ids of the prompt.
        alternatives: Number of most likely tokens that are reported at each place.
        power: Power of the mixture (`mixing.mix_rows`).
        size: Function that is called before each part.

    Returns:
        Generator that reads a part at a time, and yields the number of its tokens after all but the last one.
        Its value has one entry per token; None for the first one.
    """
    (found,) = yield from score_mixtures(rows, [policies], ids, alternatives, power, size)
    return found


@torch.inference_mode()
def score_mixtures(
    rows: PolicyRows, mixtures: Sequence[Mapping[int, float]], ids: Sequence[int], alternatives: int,
    power: float, size: Size, temperature: float = 1.0, first: int = 1,
) -> Generator[int, None, list[list[TokenLogProb | None]]]:  # fmt: skip
    """Log-probability of each of a prompt's tokens under several mixtures, for which it is read once.

    Args:
        rows: See `score_prompt`.
        mixtures: Weights of the policies in each mixture, by number.
        ids: See `score_prompt`.
        alternatives: See `score_prompt`.
        power: See `score_prompt`.
        size: See `score_prompt`.
        temperature: Temperature of the mixtures' softmax, above 0.
        first: Place of the first token of which the log-probability is computed, 1 or more; those before it
            have None.

    Returns:
        Generator as `score_prompt`'s, whose value is one list for each mixture.
    """
    found: list[list[TokenLogProb | None]] = [[None] * min(first, len(ids)) for _ in mixtures]
    numbers = list(dict.fromkeys(number for policies in mixtures for number in policies))
    parts = [iter(rows.predictions(number, ids[:-1], lambda: step)) for number in numbers]
    stop = 1
    while stop < len(ids):
        # The policies read the same tokens.
        step = max(1, size() // len(numbers))
        read = [next(one) for one in parts]
        start, stop = stop, min(len(ids), stop + step)
        if stop > first:
            # Logits, most of all of a large vocabulary, are computed where they are asked for.
            after = max(0, first - start)
            part = {n: replace(one, states=one.states[after:]) for n, one in zip(numbers, read, strict=True)}
            targets = ids[start + after : stop]
            for own, log_probs in zip(found, _mixed(part, mixtures, power, temperature), strict=True):
                own += token_log_probs(log_probs, targets, alternatives)
        if stop < len(ids):
            yield (stop - start) * len(numbers)
    return found


def _mixed(
    part: Mapping[int, StatePrediction], mixtures: Sequence[Mapping[int, float]], power: float,
    temperature: float,
) -> Iterator[Float[Tensor, "tokens vocabulary"]]:  # fmt: skip
    """Log-probabilities of each mixture, from the predictions of some tokens by policy."""
    if len(mixtures) > 1:
        # Otherwise each mixture would compute the same logits.
        part = {number: StatePrediction(one.logits()) for number, one in part.items()}
    count, device = next((len(one.states), one.device) for one in part.values())
    for policies in mixtures:
        owners = torch.arange(count, device=device).repeat(len(policies))
        weights = torch.tensor(list(policies.values()), device=device).repeat_interleave(count)
        mixed = joined([part[number] for number in policies]).mixed(owners, weights, count, power)
        yield mixed if temperature == 1.0 else (mixed / temperature).log_softmax(dim=-1)
