"""Log-probabilities of a prompt's tokens under a mixture, read in parts."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import torch

from pluralign.steer.mixture_batch import token_log_probs
from pluralign.steer.policy_rows import PolicyRows, Size
from pluralign.steer.prediction import joined
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
    found: list[TokenLogProb | None] = [None]
    parts = [iter(rows.predictions(policy, ids[:-1], lambda: step)) for policy in policies]
    stop = 1
    while stop < len(ids):
        # The policies read the same tokens.
        step = max(1, size() // len(policies))
        part = [next(one) for one in parts]
        start, stop = stop, min(len(ids), stop + step)
        targets = ids[start:stop]
        count, device = len(targets), part[0].states.device
        owners = torch.arange(count, device=device).repeat(len(part))
        weights = torch.tensor(list(policies.values()), device=device).repeat_interleave(count)
        mixed = joined(part).mixed(owners, weights, count, power)
        found += token_log_probs(mixed, targets, alternatives)
        if stop < len(ids):
            yield count * len(policies)
    return found
