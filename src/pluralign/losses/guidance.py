"""Value-guided sampling: a language model's logits shifted by values of the next token."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def guided_logits(
    logits: Float[Tensor, "rows vocabulary"],
    ids: Int[Tensor, "rows candidates"],
    values: Float[Tensor, "rows candidates"],
    strength: float,
) -> Float[Tensor, "rows vocabulary"]:
    """Logits of value-augmented sampling: log pi(y) + strength V(y) at the candidates, -inf elsewhere.

    pi'(y) is proportional to pi(y) exp(strength V(y)) on the candidates (Han et al. 2024). The mean value of
    a row's candidates is subtracted, which changes no probability and keeps the logits near the model's.

    Args:
        logits: Logits of the language model.
        ids: Token ids of each row's candidates, each at most once.
        values: Value V of the text that ends with each candidate.
        strength: Weight of the values; 0 leaves the model, restricted to the candidates.
    """
    guided = logits.gather(1, ids) + strength * (values - values.mean(dim=1, keepdim=True))
    return torch.full_like(logits, float("-inf")).scatter(1, ids, guided)
