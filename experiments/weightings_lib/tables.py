"""Policy gradients on tables of prompts and options whose exact mean rewards are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pluralign.core import SteeringWeights
from pluralign.core.level import Level
from pluralign.core.pareto import hypervolume
from pluralign.learn.combination import Combination, Tail, measured_scales
from pluralign.learn.constraints import Constrained
from pluralign.learn.weighting import ByHypervolume, ByInfluence, Fixed, Observed, Weighting
from pluralign.steer.targets import meet_targets

Row = dict[str, Any]
NAMES = ("first", "second")
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
BLOCK = 10
"""Number of batches between validation batches, of weightings that need them."""


@dataclass(frozen=True)
class Table:
    """Rewards of options.

    Args:
        means: Mean rewards, shape (prompts, options, objectives).
        deviations: Deviations of the rewards around them, of the same shape.
    """

    means: Tensor
    deviations: Tensor

    def expected(self, policy: Tensor) -> list[float]:
        """Exact mean rewards of a policy."""
        found: list[float] = torch.einsum("pa,pao->o", policy, self.means).div(len(policy)).tolist()
        return found

    def draw(self, policy: Tensor, group: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Options of a group for each prompt, and their rewards."""
        drawn = torch.multinomial(policy, group, replacement=True, generator=generator)
        places = drawn[:, :, None].expand(-1, -1, self.means.shape[2])
        noise = torch.randn(places.shape, generator=generator, dtype=torch.float64)
        return drawn, self.means.gather(1, places) + self.deviations.gather(1, places) * noise


def conflicting(seed: int, prompts: int, options: int) -> Table:
    """Two rewards that partly conflict, as in reward_combinations.py."""
    first, other = np.random.default_rng(seed).uniform(size=(2, prompts, options))
    means = torch.tensor(np.stack([first, 0.5 * (1 - first) + 0.5 * other], axis=2))
    return Table(means, torch.zeros_like(means))


def risky(seed: int, prompts: int, options: int) -> Table:
    """As `conflicting`, but options with a higher first reward are less certain to have it."""
    plain = conflicting(seed, prompts, options)
    risk = torch.tensor(np.random.default_rng(seed + 1000).uniform(size=(prompts, options)))
    means, deviations = plain.means.clone(), torch.zeros_like(plain.means)
    means[..., 0] = 0.5 * means[..., 0] + 0.5 * risk
    deviations[..., 0] = risk
    return Table(means, deviations)


def follow(
    table: Table, weighting: Weighting, combination: Combination, *, batches: int, group: int, rate: float,
    seed: int, validates: bool = False, decays: bool = False,
) -> Iterator[tuple[int, Tensor]]:  # fmt: skip
    """Policies of a policy gradient after each number of batches, the first draw's and those for validation
    included; shape (prompts, options)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(table.means.shape[:2], dtype=torch.float64)
    prompts = [str(number) for number in range(len(logits))]
    start = logits.log_softmax(1)
    scales = measured_scales(table.draw(start.exp(), group, generator)[1], NAMES)
    weighting.observe(
        Observed(table.draw(start.exp(), group, generator)[1], scales, held_out=True)
        if validates
        else Observed(torch.zeros(1, 1, 2, dtype=torch.float64), scales, held_out=True)
    )
    spent, steps = 1 + validates, 0
    while spent < batches:
        policy = logits.softmax(1)
        if validates and steps % BLOCK == 0 and steps:
            held_out = table.draw(policy, group, generator)[1]
            weighting.observe(Observed(held_out, scales, held_out=True))
            spent += 1
            yield spent, policy
        drawn, rewards = table.draw(policy, group, generator)
        seen = Observed(rewards, scales)
        near = -(policy.log() - start).gather(1, drawn)
        advantages = combination.advantages(seen.standardised, weighting.weights(prompts), near)
        weighting.observe(seen)
        change = torch.zeros_like(logits).scatter_add(1, drawn, advantages)
        step = rate * (1 - spent / batches) if decays else rate
        logits = logits + step * (change - policy * advantages.sum(dim=1, keepdim=True))
        spent, steps = spent + 1, steps + 1
        yield spent, logits.softmax(1)


def divergence(policy: Tensor) -> float:
    """Mean KL divergence from the uniform policy, nats."""
    return float(torch.xlogy(policy, policy * policy.shape[1]).sum(dim=1).mean())


def _mix(weight: float) -> SteeringWeights:
    return SteeringWeights(first=weight, second=1 - weight)


MOVING = {
    "fixed": (lambda mix: Fixed(mix), False, 1.0),
    "fixed, steps twice as long": (lambda mix: Fixed(mix), False, 2.0),
    "by influence, rate 0.1": (lambda mix: ByInfluence(mix, rate=0.1), False, 1.0),
    "by influence, rate 0.01": (lambda mix: ByInfluence(mix, rate=0.01), False, 1.0),
    "by hypervolume": (lambda mix: ByHypervolume(mix), True, 1.0),
}


def moving(seed: int, prompts: int, options: int, budgets: tuple[int, ...], rate: float) -> Iterator[Row]:
    """Hypervolume of five policies under five weightings at equal numbers of samples."""
    table = conflicting(seed, prompts, options)
    for way, (make, validates, longer) in MOVING.items():
        points: dict[int, list[tuple[list[float], float]]] = {budget: [] for budget in budgets}
        ends: list[float] = []
        for weight in WEIGHTS:
            weighting = make(_mix(weight))
            known = follow(
                table, weighting, Combination(), batches=max(budgets), group=8, rate=rate * longer, seed=seed,
                validates=validates,
            )  # fmt: skip
            for spent, policy in known:
                if spent in points:
                    points[spent].append((table.expected(policy), divergence(policy)))
            ends.append(float(weighting.weights(["0"])[0, 0]))
        for budget, own in points.items():
            yield {
                "part": "moving", "way": way, "batches": budget,
                "volume": hypervolume([means for means, _ in own], [0.0, 0.0]),
                "kl": float(np.mean([kl for _, kl in own])), "ends": ends,
            }  # fmt: skip


def targets(seed: int, prompts: int, options: int, batches: int, rate: float) -> Iterator[Row]:
    """Multipliers of targets on the second reward beside those of `meet_targets` on the whole table."""
    table = conflicting(seed, prompts, options)
    values = table.means.flatten(0, 1).numpy()
    column, numbers = values[:, 1], np.repeat(np.arange(prompts), options)
    for share in (0.3, 0.6):
        level = float(column.mean() + share * column.std())
        palette = meet_targets(dict(zip(NAMES, values.T, strict=True)), {"second": level}, numbers)
        weighting = Constrained(NAMES, at_least={"second": Level(level)}, rate=0.02)
        *_, (_, policy) = follow(
            table, weighting, Combination(kl=1.0), batches=batches, group=8, rate=rate, seed=seed, decays=True
        )
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.full(table.means.shape[:2], 1 / options, dtype=torch.float64)
        scale = measured_scales(table.draw(uniform, 8, generator)[1], NAMES)[1]
        reached = table.expected(policy)[1]
        yield {
            "part": "targets", "way": f"+{share}sd", "batches": batches,
            "ratio": weighting.multipliers["second"] / scale.deviation / palette.multipliers["second"],
            "gap": (reached - level) / column.std(), "kl": divergence(policy),
            "least_kl": _least_divergence(table, palette.multipliers["second"]),
        }  # fmt: skip


def _least_divergence(table: Table, multiplier: float) -> float:
    return divergence((multiplier * table.means[..., 1]).softmax(1))


TAILS = {"mean": None, "worst fifth, best ignored": Tail(0.2, 0.8), "worst fifth": Tail(0.2, 1.0)}


def tails(seed: int, prompts: int, options: int, batches: int, rate: float) -> Iterator[Row]:
    """Mean and worst fifth of the weighted rewards of policies that were trained for the mean or a tail."""
    table = risky(seed, prompts, options)
    for way, tail in TAILS.items():
        *_, (_, policy) = follow(
            table, Fixed(_mix(0.5)), Combination(tail=tail), batches=batches, group=8, rate=rate, seed=seed
        )
        generator = torch.Generator().manual_seed(seed + 5)
        score = table.draw(policy, 400, generator)[1].mean(dim=2).flatten()
        worst = score.sort().values[: len(score) // 5]
        yield {
            "part": "tails", "way": way, "batches": batches, "mean": float(np.mean(table.expected(policy))),
            "worst": float(worst.mean()), "kl": divergence(policy),
        }  # fmt: skip
