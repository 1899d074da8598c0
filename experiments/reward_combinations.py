"""How a vector of rewards becomes one advantage, on tables whose optimum is known; docs/papers.md has the
table.

    python experiments/reward_combinations.py

A table has prompts and options with two rewards that partly conflict. A softmax policy over the options
follows the policy gradient of samples, under five weightings of the rewards; the hypervolume of the five
policies' exact mean rewards says how good a front they span.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from afd_lib.report import over_runs
from console import say, write_page, wrote
from torch import Tensor

from pluralign.core.files import read_json, write_json
from pluralign.core.pareto import hypervolume
from pluralign.losses.advantages import (
    advantage_combination,
    centred_sum,
    dvao,
    fused_sum,
    gdpo,
    reward_combination,
)

RESULTS = Path(__file__).parent / "results"
WAYS = {
    "weighted sum": centred_sum,
    "GRPO of the sum": reward_combination,
    "sum of standardised": advantage_combination,
    "GDPO": gdpo,
    "DVAO": dvao,
    "sum, fused baselines": fused_sum,
}
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
# Scale of the second reward, and deviation of the noise in it.
TABLES = {
    "equal scales": (1.0, 0.0), "second ten times larger": (10.0, 0.0), "second noisy": (1.0, 1.0),
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        seeds: Number of tables, each with its own sampling.
        prompts: Number of prompts of a table.
        options: Number of options of a prompt.
        steps: Numbers of steps after which policies are measured.
        groups: Numbers of samples of a prompt in a step.
        rate: Step size.
        results: Folder of the result files.
    """

    out: Path = Path("runs/reward_combinations")
    seeds: int = 5
    prompts: int = 60
    options: int = 12
    steps: tuple[int, ...] = (60, 600)
    groups: tuple[int, ...] = (2, 4, 8, 16)
    rate: float = 0.3
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure all tables, and write the results as they come."""
    rows: list[Row] = []
    for (name, (scale, noise)), group in product(TABLES.items(), settings.groups):
        for seed in range(1, settings.seeds + 1):
            path = settings.out / f"{name.replace(' ', '_')}-{group}-{seed}.json"
            if not path.exists():
                say(f"{name}, {group} samples, seed {seed}")
                write_json(path, list(measure(scale, noise, group, seed, settings)))
            rows += [{"table": name, "group": group, "seed": seed, **row} for row in read_json(path)]
        write_results(rows, settings)
    wrote(settings.results / "reward_combinations.md", f"{len(rows)} rows")


def measure(scale: float, noise: float, group: int, seed: int, settings: Settings) -> Iterator[Row]:
    """Rows of one table: way, steps, hypervolume and mean KL of the five policies."""
    rng = np.random.default_rng(seed)
    first, other = rng.uniform(size=(2, settings.prompts, settings.options))
    rewards = torch.tensor(np.stack([first, 0.5 * (1 - first) + 0.5 * other], axis=2))
    shown = rewards * torch.tensor([1.0, scale], dtype=torch.float64)
    best = [_mean(rewards, _argmax(shown, weight)) for weight in WEIGHTS]
    yield {"way": "optimum of the weighted sum", "steps": 0, "volume": hypervolume(best, [0.0, 0.0])}
    for way, combine in WAYS.items():
        learned: dict[int, list[tuple[list[float], float]]] = defaultdict(list)
        for weight in WEIGHTS:
            for steps, policy in _learn(shown, noise, weight, combine, group, seed, settings):
                learned[steps].append((_mean(rewards, policy), _divergence(policy)))
        for steps, found in learned.items():
            yield {
                "way": way, "steps": steps, "volume": hypervolume([means for means, _ in found], [0.0, 0.0]),
                "kl": float(np.mean([kl for _, kl in found])),
            }  # fmt: skip


def _learn(
    rewards: Tensor, noise: float, weight: float, combine: Any, group: int, seed: int, settings: Settings
) -> Iterator[tuple[int, Tensor]]:
    """Policies after each number of steps, shape (prompts, options)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(rewards.shape[:2], dtype=torch.float64)
    weights = torch.tensor([[weight, 1 - weight]], dtype=torch.float64).expand(len(rewards), 2)
    for step in range(1, max(settings.steps) + 1):
        policy = torch.softmax(logits, dim=1)
        drawn = torch.multinomial(policy, group, replacement=True, generator=generator)
        own = rewards.gather(1, drawn[:, :, None].expand(-1, -1, 2)).clone()
        if noise:
            own[:, :, 1] += noise * torch.randn(drawn.shape, generator=generator, dtype=torch.float64)
        advantages = combine(own, weights)
        # The gradient of sum_i A_i log pi(a_i); the sum of the advantages is 0 for most ways.
        change = torch.zeros_like(logits).scatter_add(1, drawn, advantages)
        logits = logits + settings.rate * (change - policy * advantages.sum(dim=1, keepdim=True))
        if step in settings.steps:
            yield step, torch.softmax(logits, dim=1)


def _argmax(rewards: Tensor, weight: float) -> Tensor:
    utility = rewards @ torch.tensor([weight, 1 - weight], dtype=torch.float64)
    return torch.nn.functional.one_hot(utility.argmax(dim=1), rewards.shape[1]).double()


def _mean(rewards: Tensor, policy: Tensor) -> list[float]:
    found: list[float] = torch.einsum("pa,pao->o", policy, rewards).div(len(rewards)).tolist()
    return found


def _divergence(policy: Tensor) -> float:
    """Mean KL divergence from the uniform policy, nats."""
    return float(torch.xlogy(policy, policy * policy.shape[1]).sum(dim=1).mean())


def write_results(rows: list[Row], settings: Settings) -> None:
    """``reward_combinations.json`` (means) and ``reward_combinations.md``."""
    cells = list(_cells(rows))
    write_json(settings.results / "reward_combinations.json", cells)
    lines = [
        "# Combinations of rewards", "", "`python experiments/reward_combinations.py`", "",
        *textwrap.wrap(
            f"{settings.seeds} tables of {settings.prompts} prompts with {settings.options} options and two "
            "rewards that partly conflict. Hypervolume (in the first reward's unit, reference 0) of the "
            "exact mean rewards of five policies, learned under the weights .1, .3, .5, .7, .9 by policy "
            "gradient with the stated number of samples per prompt and step; KL is from the uniform policy "
            "at the start, nats. Intervals of 95 % over tables.",
            100,
        ), "",
        "| rewards | samples | steps | way | hypervolume | KL |",
        "|---|---:|---:|---|---:|---:|",
    ]  # fmt: skip
    for cell in cells:
        volume = cell["volume"]
        ends = f" ({volume['low']:.3f} to {volume['high']:.3f})" if "low" in volume else ""
        kl = f"{cell['kl']['mean']:.2f}" if "kl" in cell else ""
        lines.append(
            f"| {cell['table']} | {cell['group']} | {cell['steps'] or ''} | {cell['way']} | "
            f"{volume['mean']:.3f}{ends} | {kl} |"
        )
    write_page(settings.results / "reward_combinations.md", lines)


def _cells(rows: list[Row]) -> Iterator[Row]:
    groups: dict[tuple[str, int, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["table"], row["group"], row["steps"], row["way"]].append(row)
    for (table, group, steps, way), own in groups.items():
        found: Row = {"table": table, "group": group, "steps": steps, "way": way, "seeds": len(own)}
        for name in ("volume", "kl"):
            if figure := over_runs([row.get(name) for row in own]):
                found[name] = figure
        yield found


if __name__ == "__main__":
    run(tyro.cli(Settings))
