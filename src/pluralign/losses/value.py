"""Losses of value models, which predict a completion's final reward after each of its tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# sqrt(2) turns standard deviations into the error function's argument.
_ROOT = 2.0**0.5


def gae_targets(
    values: Float[Tensor, " tokens"],
    rewards: Float[Tensor, " completions"],
    lengths: Int[Tensor, " completions"],
    *,
    lam: float = 0.95,
    gamma: float = 1.0,
) -> Float[Tensor, " tokens"]:
    """Targets of the values: lambda-returns, V + GAE (Schulman et al. 2016, eq. 16).

    G_T = r and G_t = gamma ((1 - lam) V_{t+1} + lam G_{t+1}), with no reward before the end. V_t is the value
    after step t, a token or a sentence, so the last target is known: it is the reward. (Value-augmented
    sampling, Han et al. 2024: gamma 1, lam 0.95.) With lam 1 the targets are gamma^(T - t) r (MAH-DPO's
    process rewards, Shen et al. 2025: gamma 0.9).

    Args:
        values: Current values V, completions concatenated; no gradient flows through the targets.
        rewards: Reward r of each completion.
        lengths: Number of steps of each completion, at least 1.
        lam: Parameter lambda; 1 gives the reward at every token (Monte Carlo), 0 the next token's value
            (TD(0)).
        gamma: Discount of each step; 1 for none.
    """
    values, longest = values.detach(), int(lengths.max()) if len(lengths) else 0
    starts = lengths.cumsum(0) - lengths
    following = rewards.to(values.dtype)
    targets = torch.empty_like(values)
    targets[starts + lengths - 1] = following
    # Backwards: step k sets the targets k tokens before the end, for completions that are long enough.
    for k in range(1, longest):
        rows = (lengths > k).nonzero().squeeze(1)
        places = starts[rows] + lengths[rows] - 1 - k
        targets[places] = gamma * ((1 - lam) * values[places + 1] + lam * targets[places + 1])
    return targets


def value_loss(
    values: Float[Tensor, " tokens"], targets: Float[Tensor, " tokens"], *, tokens: float
) -> Float[Tensor, ""]:
    """Half the squared error: sum_t (V_t - G_t)^2 / 2, divided by ``tokens`` (Han et al. 2024).

    Args:
        values: Value V after each token.
        targets: Targets G from `gae_targets`.
        tokens: Normaliser; with one constant for all parts of a step, their losses add up.
    """
    return 0.5 * (values - targets).square().sum() / tokens


@dataclass(frozen=True)
class Bins:
    """Equal bins over a range of values, for learning values by classification.

    Args:
        low: Lower end of the first bin.
        high: Upper end of the last bin.
        count: Number of bins.
        smoothing: Standard deviation of a target's Gaussian, in bin widths (Farebrother et al. 2024,
            sec. 3.1: 0.75).
    """

    low: float
    high: float
    count: int = 51
    smoothing: float = 0.75

    @property
    def width(self) -> float:
        """Width of one bin."""
        return (self.high - self.low) / self.count

    def edges(self, device: torch.device | None = None) -> Float[Tensor, " edges"]:
        """Edges of the bins, one more than there are bins."""
        return torch.linspace(self.low, self.high, self.count + 1, device=device)

    def centres(self, device: torch.device | None = None) -> Float[Tensor, " bins"]:
        """Centre of each bin."""
        edges = self.edges(device)
        return (edges[1:] + edges[:-1]) / 2


def hl_gauss_targets(targets: Float[Tensor, " tokens"], bins: Bins) -> Float[Tensor, "tokens bins"]:
    """Each target as a distribution over bins: the Gaussian's mass in each bin, normalised over the range.

    p_i = (Phi((u_i - y) / s) - Phi((l_i - y) / s)) / (Phi((high - y) / s) - Phi((low - y) / s)), with s the
    smoothing times the width (Imani and White 2018; Farebrother et al. 2024, sec. 3.1).

    Args:
        targets: Targets y; values outside the range are clipped to it.
        bins: Bins with edges l_i and u_i.
    """
    places = targets.clamp(bins.low, bins.high)[:, None]
    edges = bins.edges(targets.device).to(targets.dtype)
    below = torch.erf((edges - places) / (bins.smoothing * bins.width * _ROOT))
    return below.diff(dim=1) / (below[:, -1:] - below[:, :1])


def hl_gauss_loss(
    logits: Float[Tensor, "tokens bins"], targets: Float[Tensor, " tokens"], bins: Bins, *, tokens: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the bins with `hl_gauss_targets`, summed and divided by ``tokens``, nats.

    Args:
        logits: Logits of the bins.
        targets: Targets G from `gae_targets`.
        bins: Bins of the logits.
        tokens: Normaliser; see `value_loss`.
    """
    return -(hl_gauss_targets(targets, bins) * logits.log_softmax(dim=-1)).sum() / tokens


def hl_gauss_mean(logits: Float[Tensor, "tokens bins"], bins: Bins) -> Float[Tensor, " tokens"]:
    """Value predicted by the bins: the expectation of their centres (Farebrother et al. 2024, sec. 3).

    Args:
        logits: Logits of the bins; equal logits give the middle of the range.
        bins: Bins of the logits.
    """
    return logits.softmax(dim=-1) @ bins.centres(logits.device).to(logits.dtype)
