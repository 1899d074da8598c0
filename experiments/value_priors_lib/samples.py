"""Samples of prompts that a program scores: budgets replayed on them, and values of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pluralign.core.arrays import FloatArray
from pluralign.core.messages import Prompt
from pluralign.evaluate.rewards.best_of_n import expected_best
from pluralign.evaluate.rewards.prompt_value import rank_accuracy
from pluralign.losses.value_prior import fuse, pooled_variance
from pluralign.rewards.kernel_ridge import fit_kernel_ridge
from pluralign.steer.budget import Budget, RewardDistribution, StoppingRule

Row = dict[str, Any]
PRICES = (0.02, 0.05, 0.1, 0.2)
"""Prices of a sample, in deviations of a reward within prompts."""
LEASTS = (4, 8)
"""Numbers of first samples."""
MEANS = ("samples", "samples and prior", "known")
"""Where the rule's mean reward of a prompt comes from; the last one is what a perfect prior would give."""
RULES: tuple[RewardDistribution, ...] = ("normal", "samples")
"""How rewards are taken to be distributed around a prompt's mean."""
ORDERS = 20
"""Number of random orders of each prompt's samples in which a budget is replayed."""


@dataclass(frozen=True, eq=False)
class Division:
    """Prompts of a context and held-out prompts.

    Args:
        context: Numbers of the context's prompts.
        test: Numbers of the held-out prompts.
    """

    context: NDArray[np.int64]
    test: NDArray[np.int64]


def division(prompts: int, seed: int) -> Division:
    """Halves of the prompts."""
    order = np.random.default_rng(seed).permutation(prompts)
    return Division(np.sort(order[: prompts // 2]), np.sort(order[prompts // 2 :]))


def prior_values(features: FloatArray, rewards: FloatArray, parts: Division) -> FloatArray:
    """Mean rewards of the held-out prompts, predicted from the context's samples."""
    ridge = fit_kernel_ridge(features[parts.context], rewards[parts.context].mean(axis=1))
    return ridge(features[parts.test])


def budget_rows(rewards: FloatArray, priors: FloatArray, parts: Division, seed: int) -> list[Row]:
    """Rewards of the reservation rule and of fixed numbers of samples, for each held-out prompt.

    Args:
        rewards: Rewards of all prompts' samples, shape (prompts, samples).
        priors: Prior value of each held-out prompt.
        parts: Context and held-out prompts.
        seed: Random seed of the orders.
    """
    own, most = rewards[parts.test], rewards.shape[1]
    best, known = expected_best(own, own), expected_best(rewards[parts.context], rewards[parts.context])
    rng = np.random.default_rng(seed)
    places = np.argsort(rng.random((ORDERS, *own.shape)), axis=2)
    orders = np.take_along_axis(np.broadcast_to(own, places.shape), places, axis=2)
    deviation = float(pooled_variance(torch.tensor(rewards))) ** 0.5
    rows: list[Row] = []
    for price in PRICES:
        paid = price * deviation
        fixed = int((known.mean(axis=0) - paid * np.arange(1, most + 1)).argmax()) + 1
        best_fixed = (best[:, fixed - 1] - paid * fixed) / deviation
        normal: dict[tuple[int, str], FloatArray] = {}
        for least, rule, means in product(LEASTS, RULES, MEANS):
            prior = {"samples": None, "samples and prior": priors, "known": own.mean(axis=1)}[means]
            counts, reward = _replayed(orders, least, paid, rule, prior, trusted=means == "known")
            # As many samples as the rule draws on average: a number between two whole ones.
            level = counts.mean() - 1
            low, part = int(level), level - int(level)
            same = (1 - part) * best[:, low] + part * best[:, min(low + 1, most - 1)]
            net = (reward - paid * counts).mean(axis=0) / deviation
            # `RULES` begins with the normal one.
            usual = normal.setdefault((least, means), net)
            rows.append(
                {
                    "price": price, "least": least, "rule": rule, "means": means, "fixed": fixed,
                    "samples": float(counts.mean()),
                    "net": net, "normal": usual,
                    "same cost": (same - paid * counts.mean()) / deviation,
                    "best fixed": best_fixed,
                }
            )  # fmt: skip
    return rows


def _replayed(
    orders: FloatArray,
    least: int,
    price: float,
    rule: RewardDistribution,
    prior: FloatArray | None,
    *,
    trusted: bool,
) -> tuple[FloatArray, FloatArray]:
    """Numbers of samples and best rewards of each order and prompt, shape (orders, prompts).

    Args:
        orders: Rewards in the order in which samples are drawn, shape (orders, prompts, samples).
        least: Smallest number of samples.
        price: Price of a sample, in the rewards' unit.
        rule: One of `RULES`.
        prior: Prior value of each prompt, or none.
        trusted: Whether the prior is the mean.
    """
    most = orders.shape[2]
    numbers = np.arange(1, most + 1)
    best = np.maximum.accumulate(orders, axis=2)
    mean = np.cumsum(orders, axis=2) / numbers
    # Every order is a run of its own, which knows the spread of its first samples.
    first = orders[:, :, :least]
    variances = torch.stack([pooled_variance(torch.tensor(own)) for own in first])
    if prior is not None:
        wide = np.broadcast_to(prior[:, None], mean.shape)
        error = variances[:, None, None] / torch.tensor(numbers)
        mean = wide if trusted else fuse(torch.tensor(wide.copy()), torch.tensor(mean), error).numpy()
    budget = Budget(least, most, price, {"reward": _no_reward}, reward_distribution=rule)
    margins = np.array([StoppingRule.measured(budget, list(own)).margin for own in first])
    enough = best >= mean + margins[:, None, None]
    enough[:, :, : least - 1] = False
    enough[:, :, -1] = True
    counts = enough.argmax(axis=2)
    return counts + 1.0, np.take_along_axis(best, counts[:, :, None], axis=2)[:, :, 0]


def _no_reward(prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
    raise AssertionError("samples that are replayed have been scored")


def rank_accuracies(
    predicted: Mapping[str, FloatArray], rewards: FloatArray, weights: FloatArray
) -> dict[str, FloatArray]:
    """Rank accuracy of each prediction of prompts' mean rewards, for the prompts and for resamples of them.

    One half of the samples predicts the other half as well: how well means of so few samples can be known.

    Args:
        predicted: Predicted mean rewards by name, shape (prompts,) each.
        rewards: Rewards of the prompts' samples, shape (prompts, samples).
        weights: How often each prompt counts, shape (resamples, prompts).
    """
    truth, half = rewards.mean(axis=1), rewards.shape[1] // 2
    found = {name: rank_accuracy(own, truth, weights) for name, own in predicted.items()}
    first, second = rewards[:, :half].mean(axis=1), rewards[:, half:].mean(axis=1)
    return {**found, "other half of the samples": rank_accuracy(first, second, weights)}


def means_of(columns: Sequence[FloatArray], divisions: Sequence[Division], prompts: int) -> FloatArray:
    """Mean of a figure over the divisions in which a prompt is held out; NaN if it never is.

    Args:
        columns: The figure for each held-out prompt of each division.
        divisions: Divisions of the prompts.
        prompts: Number of prompts.
    """
    total, count = np.zeros(prompts), np.zeros(prompts)
    for own, parts in zip(columns, divisions, strict=True):
        total[parts.test] += own
        count[parts.test] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
