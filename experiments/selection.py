"""Which preference pairs to label: Bradley-Terry on pairs selected by difficulty, diversity, dependability.

ETHICS' utilitarianism (Hendrycks et al. 2021), rewards that are linear in frozen features of a language
model, selection as in D3 (Zhang et al. 2025) with the product's own functions.

    OMP_NUM_THREADS=1 python experiments/selection.py --data DIR

Features are kept in ``--out``; everything else takes minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ava_lib.data import families
from console import say, wrote
from torch import Tensor

from pluralign import losses
from pluralign.core import InputError, PreferencePair
from pluralign.core.files import replace_when_whole, write_json
from pluralign.core.splits import seed_for
from pluralign.data.load import load_pairs
from pluralign.evaluate.statistics import estimate
from pluralign.lm.backbone import load_backbone
from pluralign.pair.select import centres, difficulty, farthest_first, worthiest
from pluralign.pair.traits import PairTraits, read_traits

RESULTS = Path(__file__).parent / "results"
RANDOM, WHOLE = "random", "all pairs"
Rows = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets, with ethics/utilitarianism.jsonl.gz.
        out: Working folder.
        model: Frozen language model.
        pairs: Number of pairs that are used, from the beginning of the file.
        budgets: Numbers of selected pairs.
        draws: Number of divisions into pool, validation and test.
        random: Number of random selections in each division.
        penalties: L2 penalties, of which the validation pairs choose.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/selection")
    model: str = "smollm2-135m"
    pairs: int = 6500
    budgets: tuple[int, ...] = (200, 400, 800)
    draws: int = 5
    random: int = 3
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)
    results: Path = RESULTS


def run(settings: Settings) -> dict[str, Any]:
    """Run the experiment; write and return the figures."""
    path = settings.data / "ethics" / "utilitarianism.jsonl.gz"
    pairs = load_pairs(path, "utilitarianism", two_prompts=True)[: settings.pairs]
    say(f"[1/2] {len(pairs)} pairs read by {settings.model} (once)")
    backbone = load_backbone(settings.model, dtype=torch.float32)
    traits = read_traits(pairs, backbone, folder=settings.out / "traits")
    say("[2/2] selections")
    rows: list[dict[str, Any]] = []
    for draw in range(settings.draws):
        rows += one_draw(pairs, traits, settings, draw)
    report = {
        "experiment": "selection",
        "command": f"python experiments/selection.py --data DIR --pairs {settings.pairs}",
        "settings": {name: getattr(settings, name) for name in ("model", "pairs", "draws", "random")},
        "versions": {name: version(name) for name in ("pluralign", "torch", "numpy")},
        "rows": rows,
        "table": table(rows, settings),
    }
    write_json(settings.results / "selection.json", report)
    with replace_when_whole(settings.results / "selection.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    wrote(settings.results / "selection.md", f"{len(rows)} fits")
    return report


def one_draw(
    pairs: Sequence[PreferencePair], traits: PairTraits, settings: Settings, draw: int
) -> list[dict[str, Any]]:
    """Test accuracy of every criterion and budget in one division; families of pairs stay together."""
    buckets = np.array([seed_for(family, draw) % 100 for family in families(pairs)])
    test, validation = np.flatnonzero(buckets < 20), np.flatnonzero((buckets >= 20) & (buckets < 28))
    pool = np.flatnonzero(buckets >= 28)
    chosen, rejected = (traits.features[:, side].astype(np.float64) for side in (0, 1))
    differences = (chosen - rejected) / np.maximum((chosen - rejected)[pool].std(axis=0), 1e-9)
    orders = list(selections(traits, pool, max(settings.budgets), draw).items())
    for number in range(settings.random):
        orders.append((RANDOM, np.random.default_rng([draw, number]).permutation(len(pool)).tolist()))
    rows: list[dict[str, Any]] = []
    for name, order in (*orders, (WHOLE, list(range(len(pool))))):
        for budget in (len(pool),) if name == WHOLE else settings.budgets:
            train = pool[order[:budget]]
            right = accuracy(differences, train, validation, test, settings.penalties)
            rows.append({"draw": draw, "by": name, "budget": budget, "pairs": len(train), "right": right})
    said = {row["by"]: row["right"] for row in rows if row["budget"] in (settings.budgets[-1], len(pool))}
    say(f"  draw {draw}: " + ", ".join(f"{name} {right:.3f}" for name, right in said.items()))
    return rows


def selections(traits: PairTraits, pool: Rows, budget: int, seed: int) -> dict[str, list[int]]:
    """Places in the pool by criterion, in the order of their choice: the first N are the choice of N."""
    own = PairTraits(traits.features[pool], traits.losses[pool], traits.entropies[pool], traits.vocabulary)
    hard = difficulty(own.losses.mean(axis=1), own.entropies.mean(axis=1), own.vocabulary)
    # The language model as a judge: the label is right if the chosen text is the likelier one.
    sure = 1 / (1 + np.exp(own.losses[:, 0] - own.losses[:, 1]))
    points = centres(own)
    weighted: Mapping[str, Any] = {
        "diversity": None,
        "difficulty, diversity": hard,
        "difficulty, diversity, dependability": hard * sure,
    }
    return {
        "difficulty": worthiest(hard, budget, seed=seed),
        "dependability": worthiest(sure, budget, seed=seed),
        **{name: farthest_first(points, budget, worth=worth, seed=seed) for name, worth in weighted.items()},
    }


def accuracy(
    differences: Any, train: Rows, validation: Rows, test: Rows, penalties: Sequence[float]
) -> float:
    """Share of test pairs that a linear Bradley-Terry reward ranks rightly."""
    inputs = torch.as_tensor(differences)
    found: list[tuple[float, float]] = []
    for penalty in penalties:
        weights = fitted(inputs[train], penalty)
        scores = [((inputs[part] @ weights) > 0).double().mean().item() for part in (validation, test)]
        found.append((scores[0], scores[1]))
    return max(found, key=lambda one: one[0])[1]


def fitted(differences: Tensor, penalty: float) -> Tensor:
    """Weights of a linear reward with the least Bradley-Terry loss and an L2 penalty."""
    weights = torch.zeros(differences.shape[1], dtype=torch.float64, requires_grad=True)
    # Its methods are not typed.
    optimizer: Any = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        rewards = differences @ weights
        loss = losses.bradley_terry(rewards, torch.zeros_like(rewards)).mean()
        loss = loss + penalty * weights.square().sum()
        backward: Callable[[], None] = loss.backward
        backward()
        return loss

    optimizer.step(closure)
    return weights.detach()


def table(rows: Sequence[Mapping[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    """Accuracy of each criterion and budget, and its difference to random selection in the same divisions."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys((RANDOM, *(row["by"] for row in rows))):
        for budget in (0,) if name == WHOLE else settings.budgets:
            own = _by_draw(rows, name, budget, settings.draws)
            row: dict[str, Any] = {"by": name, "budget": budget, "right": interval(own)}
            if name not in (RANDOM, WHOLE):
                chance = _by_draw(rows, RANDOM, budget, settings.draws)
                row["more than random"] = interval(np.subtract(own, chance).tolist())
            found.append(row)
    return found


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean with its 95 % interval."""
    found = estimate(values)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _by_draw(rows: Sequence[Mapping[str, Any]], name: str, budget: int, draws: int) -> list[float]:
    """Mean accuracy of each division; random selections are averaged within it."""
    found: list[float] = []
    for draw in range(draws):
        own = [row for row in rows if row["draw"] == draw and row["by"] == name]
        found.append(float(np.mean([row["right"] for row in own if budget in (0, row["budget"])])))
    return found


def as_markdown(report: Mapping[str, Any]) -> str:
    """The table as a page."""
    settings = report["settings"]
    lines = [
        "# Selection of pairs",
        "",
        f"`{report['command']}`: {settings['pairs']} pairs, {settings['draws']} divisions. Accuracy on test",
        "pairs and its difference to random selection, with 95 % intervals (Student's t) over divisions of",
        "the same pairs.",
        "",
        "| selected by | pairs | accuracy | more than random |",
        "| --- | ---: | --- | --- |",
    ]
    for row in report["table"]:
        more = row.get("more than random")
        cells = (row["by"], row["budget"] or "all", _said(row["right"]), _said(more) if more else "")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _said(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line. Exit codes: 0 success, 2 bad input, 130 interrupted."""
    import tyro

    try:
        run(tyro.cli(Settings, args=arguments, description=(__doc__ or "").splitlines()[0]))
    except InputError as error:
        print(f"selection: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("selection: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
