"""Log-probabilities of a prompt's tokens under a mixture, read in parts."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import torch

from pluralign.steer.mixture_batch import token_log_probs
from pluralign.steer.policy_rows import PolicyRows, Size
from pluralign.steer.prediction import Prediction, StatePrediction, joined
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
    power: float, size: Size, temperature: float = 1.0,
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

    Returns:
        Generator as `score_prompt`'s, whose value is one list for each mixture.
    """
    found: list[list[TokenLogProb | None]] = [[None] for _ in mixtures]
    numbers = list(dict.fromkeys(number for policies in mixtures for number in policies))
    parts = [iter(rows.predictions(number, ids[:-1], lambda: step)) for number in numbers]
    stop = 1
    while stop < len(ids):
        # The policies read the same tokens.
        step = max(1, size() // len(numbers))
        part: dict[int, Prediction] = {n: next(one) for n, one in zip(numbers, parts, strict=True)}
        if len(mixtures) > 1:
            # Otherwise each mixture would compute the same logits.
            part = {number: StatePrediction(one.logits()) for number, one in part.items()}
        start, stop = stop, min(len(ids), stop + step)
        targets = ids[start:stop]
        for own, policies in zip(found, mixtures, strict=True):
            count, device = len(targets), part[numbers[0]].device
            owners = torch.arange(count, device=device).repeat(len(policies))
            weights = torch.tensor(list(policies.values()), device=device).repeat_interleave(count)
            mixed = joined([part[number] for number in policies]).mixed(owners, weights, count, power)
            if temperature != 1.0:
                mixed = (mixed / temperature).log_softmax(dim=-1)
            own += token_log_probs(mixed, targets, alternatives)
        if stop < len(ids):
            yield len(targets) * len(numbers)
    return found
