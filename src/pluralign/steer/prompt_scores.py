"""Log-probabilities of a prompt's tokens under a mixture, read in parts."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import torch

from pluralign.steer.mixture_batch import token_log_probs
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.prediction import joined
from pluralign.steer.requests import TokenLogProb


@torch.inference_mode()
def score_prompt(
    rows: PolicyRows, policies: Mapping[int, float], ids: Sequence[int], alternatives: int, power: float,
    tokens: int,
) -> Generator[None, None, list[TokenLogProb | None]]:  # fmt: skip
    """Log-probability of each of a prompt's tokens, given those before it.

    Args:
        rows: The policies.
        policies: Weights of the policies in the mixture, by number.
        ids: Token ids of the prompt.
        alternatives: Number of most likely tokens that are reported at each place.
        power: Power of the mixture (`mixing.mix_rows`).
        tokens: Number of tokens that are read between two yields, counted once for every policy.

    Returns:
        One entry per token; None for the first one.
    """
    found: list[TokenLogProb | None] = [None]
    step = max(1, tokens // len(policies))
    parts = zip(*(rows.predictions(policy, ids[:-1], step) for policy in policies), strict=True)
    for number, part in enumerate(parts):
        if number:
            yield
        start = number * step
        targets = ids[start + 1 : start + step + 1]
        count, device = len(targets), part[0].states.device
        owners = torch.arange(count, device=device).repeat(len(part))
        weights = torch.tensor(list(policies.values()), device=device).repeat_interleave(count)
        mixed = joined(part).mixed(owners, weights, count, power)
        found += token_log_probs(mixed, targets, alternatives)
    return found
