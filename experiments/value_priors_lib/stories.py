"""Errors of values fused from a prior and a few returns, where the exact values are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.games.state_graph import END, StateGraph, explore
from pluralign.losses.value_prior import fuse, pooled_variance, worth_one_more

Row = dict[str, Any]
BIASES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Biases of the prior, in standard deviations of a return."""
WAYS = ("prior alone", "fused, pooled deviation", "fused, own deviation", "best weight")
SHARES = (0.1, 0.3, 0.5)
RIGHT, WRONG = 0.1, 2.0
"""Deviation of the error of priors that are right, and the error of those that are not."""
PRICE, LEAST, MOST, FIXED = 0.004, 4, 16, 8
"""Price of a sample in units of a return's variance, range of the samples, and the number compared with."""


class UniformPlay:
    """Exact values and returns of uniform random play from every state of a story.

    Args:
        name: Name of the story.
    """

    def __init__(self, name: str) -> None:
        story = pl.open_story(name)
        self.graph: StateGraph = explore(story.make_game())
        self._rewards = self.graph.rewards([story.info.objective("score")])[:, 0]
        self._options = np.diff(self.graph.first)
        self.values = np.zeros(len(self.graph.states))
        for state in self.graph.backwards.tolist():
            if state != END:
                edges = slice(self.graph.first[state], self.graph.first[state + 1])
                self.values[state] = (self._rewards[edges] + self.values[self.graph.target[edges]]).mean()

    def drawn(self, states: int, returns: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Values of random states, shape (states,), and returns from each, shape (states, returns)."""
        chosen = rng.choice(np.arange(1, len(self.values)), size=states, replace=False)
        here = np.repeat(chosen, returns)
        total = np.zeros(len(here))
        while (going := here != END).any():
            edges = self.graph.first[here[going]] + rng.integers(0, self._options[here[going]])
            total[going] += self._rewards[edges]
            here[going] = self.graph.target[edges]
        return self.values[chosen], total.reshape(states, returns)


def fusion_errors(play: UniformPlay, seed: int, states: int) -> list[Row]:
    """Squared errors relative to that of the mean of four returns, by the bias of the prior."""
    rng = np.random.default_rng(seed)
    values, returns = play.drawn(states, LEAST, rng)
    mean, variance = returns.mean(axis=1), float(pooled_variance(torch.tensor(returns)))
    plain = float(((mean - values) ** 2).mean())
    sign = rng.choice((-1.0, 1.0), size=states)
    rows: list[Row] = []
    for bias in BIASES:
        gap = bias * variance**0.5
        prior = values + sign * gap
        error = variance / LEAST
        weight = gap**2 / (gap**2 + error)
        found = {
            "prior alone": prior,
            "fused, pooled deviation": _fused(prior, mean, np.full(states, error)),
            "fused, own deviation": _fused(prior, mean, returns.var(axis=1, ddof=1) / LEAST),
            "best weight": prior + weight * (mean - prior),
        }
        rows.append(
            {"bias": bias, **{way: float(((own - values) ** 2).mean()) / plain for way, own in found.items()}}
        )
    return rows


def budget_errors(play: UniformPlay, seed: int, states: int) -> list[Row]:
    """Squared errors in units of a return's variance, and samples, by the share of priors that are wrong."""
    rng = np.random.default_rng(seed)
    values, returns = play.drawn(states, MOST, rng)
    rows: list[Row] = []
    for share in SHARES:
        wrong = rng.random(states) < share
        error = np.where(wrong, rng.choice((-WRONG, WRONG), size=states), RIGHT * rng.normal(size=states))
        rows.append({"share": share, **_budget_row(values, returns, error)})
    return rows


def biased_budget_errors(play: UniformPlay, seed: int, states: int) -> list[Row]:
    """The same, by the bias of all priors."""
    rng = np.random.default_rng(seed)
    values, returns = play.drawn(states, MOST, rng)
    sign = rng.choice((-1.0, 1.0), size=states)
    return [{"bias": bias, **_budget_row(values, returns, bias * sign)} for bias in BIASES]


def _budget_row(values: FloatArray, returns: FloatArray, error: FloatArray) -> Row:
    """Figures for priors with these errors, in deviations of a return."""
    variance = float(pooled_variance(torch.tensor(returns[:, :LEAST])))
    prior = values + error * variance**0.5
    counts = _bought(prior, returns, variance)
    mean = np.array([own[:count].mean() for own, count in zip(returns, counts, strict=True)])
    fixed = returns[:, :FIXED].mean(axis=1)
    found = {
        "budget": _fused(prior, mean, variance / counts),
        "fused": _fused(prior, fixed, np.full(len(fixed), variance / FIXED)),
        "mean": fixed,
    }
    errors = {way: float(((own - values) ** 2).mean()) / variance for way, own in found.items()}
    # The error of a mean is that of one return divided by their number.
    as_many = errors["mean"] * FIXED / float(counts.mean())
    return {"samples": float(counts.mean()), **errors, "mean of as many": as_many}


def _bought(prior: FloatArray, returns: FloatArray, variance: float) -> NDArray[np.int64]:
    """Number of samples of each state by the rule that buys one more while it pays."""
    counts = np.full(len(prior), LEAST)
    going = np.ones(len(prior), dtype=bool)
    for count in range(LEAST, MOST):
        mean = torch.tensor(returns[:, :count].mean(axis=1))
        one = torch.full((len(prior),), variance, dtype=torch.float64)
        worth = worth_one_more(torch.tensor(prior), mean, one, torch.full_like(one, count), PRICE).numpy()
        going &= worth
        counts[going] = count + 1
    return counts


def _fused(prior: FloatArray, mean: FloatArray, error: FloatArray) -> FloatArray:
    return fuse(torch.tensor(prior), torch.tensor(mean), torch.tensor(error)).numpy()
