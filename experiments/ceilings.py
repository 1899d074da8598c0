"""Over-optimisation of a reward from few rows, stopped at its proxy point; docs/papers.md has the table.

    python experiments/ceilings.py --data DIR

DIR contains ``hh_rlhf/``. A proxy reward from few pairs and a golden one from all others score the same
samples (those of conflict.py). Half of the prompts say at which N the golden reward of best-of-N is highest;
on the other half, the samples are tilted to exactly that level of the proxy (constrained RLHF, Moskovitz et
al. 2024, on samples), and compared with best-of-N. An interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote
from frozen_lib.data import Features, Limits, Pairs, part_of, read_pairs
from frozen_lib.heads import LinearReward, fit_reward
from frozen_lib.material import OBJECTIVES, drawn, sample_features
from numpy.typing import NDArray

from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.evaluate.rewards.best_of_n import expected_best, rank_probabilities
from pluralign.evaluate.statistics import Estimate, estimate
from pluralign.steer.targets import meet_targets

RESULTS = Path(__file__).parent / "results"
PEAK, LEVEL, MATCHED, MOST = (
    "best of N, N by the other prompts", "tilt to that level exactly", "tilt to its KL", "best of all",
)  # fmt: skip
SHOWN = (1, 2, 4, 8, 16, 32, 64)
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``hh_rlhf/``.
        out: Working folder.
        draws: Folder of the samples, which conflict.py draws, too.
        features: Folder of features, which experiments share.
        model: Frozen model.
        limits: Limits on the rows of HH-RLHF.
        samples: Number of samples of each prompt.
        tokens: Largest number of tokens of a sample.
        rows: Numbers of pairs of the proxy rewards.
        seeds: Number of divisions of the rows, each with its own rewards.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/ceilings")
    draws: Path = Path("runs/conflict")
    features: Path = Path("runs/frozen_features")
    model: str = "smollm2-135m"
    limits: Limits = field(default_factory=Limits)
    samples: int = 32
    tokens: int = 32
    rows: tuple[int, ...] = (30, 100)
    seeds: int = 5
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Score the samples by each seed's rewards, and write the results."""
    pairs, features = read_pairs(settings.data, settings.limits), Features(settings.model, settings.features)
    draws = drawn(pairs, settings.model, settings.draws, settings.samples, settings.tokens)
    read = sample_features(draws, features, settings.samples)
    parts: list[Row] = []
    for seed in range(1, settings.seeds + 1):
        path = settings.out / f"{seed}.json"
        if not path.exists():
            say(f"rewards, seed {seed}")
            write_json(path, scores(pairs, features, read, settings.rows, seed))
        parts.append(read_json(path))
    report = {
        "model": settings.model, "prompts": len(read), "samples": settings.samples,
        "tokens": settings.tokens, "seeds": len(parts),
        "proxies": {name: summary([part[name] for part in parts]) for name in parts[0]},
    }  # fmt: skip
    write_json(settings.results / "ceilings.json", report)
    with replace_when_whole(settings.results / "ceilings.md") as temporary:
        temporary.write_text(as_markdown(report), encoding="utf-8")
    wrote(settings.results / "ceilings.md", f"{len(parts)} seeds")


def scores(pairs: Pairs, features: Features, read: FloatArray, rows: Sequence[int], seed: int) -> Row:
    """Rewards of the samples by proxy and golden rewards, and both rewards' accuracies on test pairs."""
    found: Row = {}
    for objective in OBJECTIVES:
        own = pairs.divided[objective]
        parts = {
            part: features.of_pairs([pair for pair in own if part_of(pair, seed) == part])
            for part in ("rewards", "train", "validation", "test")
        }
        more = features.of_pairs(pairs.more[objective]) if pairs.more[objective] else parts["rewards"][:0]
        golden = fit_reward(np.concatenate([parts["rewards"], more]), parts["validation"])
        for count in rows:
            few = parts["train"][:count]
            proxy = fit_reward(few[: -max(1, count // 5)], few[-max(1, count // 5) :])
            found[f"{objective}, {count} rows"] = {
                "accuracy": {
                    "proxy": proxy.accuracy(parts["test"]), "golden": golden.accuracy(parts["test"]),
                },
                "proxy": _scaled(proxy, read), "golden": _scaled(golden, read),
            }  # fmt: skip
    return found


def _scaled(reward: LinearReward, read: FloatArray) -> list[list[float]]:
    """Rewards of the samples in units of their deviation within prompts; each prompt's mean is 0."""
    found = reward(read)
    found -= found.mean(axis=1, keepdims=True)
    deviation = float(np.sqrt((found**2).mean()))
    scaled: list[list[float]] = (found / deviation).tolist()
    return scaled


def summary(parts: Sequence[Row]) -> Row:
    """Curves and ways of one proxy, means over the seeds."""
    ways: dict[str, list[FloatArray]] = {}
    chosen: list[int] = []
    for part in parts:
        proxy, golden = np.array(part["proxy"]), np.array(part["golden"])
        own: dict[str, FloatArray] = {}
        for half in (0, 1):
            test = np.arange(len(proxy)) % 2 == half
            best = int(expected_best(proxy[~test], golden[~test]).mean(axis=0).argmax())
            chosen.append(best + 1)
            for way, values in tilted(proxy[test], golden[test], best + 1).items():
                own.setdefault(way, np.zeros((len(proxy), 3)))[test] = values
        for way, values in own.items():
            ways.setdefault(way, []).append(values)
    means = {way: np.mean(values, axis=0) for way, values in ways.items()}
    curves = [expected_best(np.array(part["proxy"]), np.array(part["golden"])) for part in parts]
    return {
        "accuracy": {key: [part["accuracy"][key] for part in parts] for key in ("proxy", "golden")},
        "chosen": chosen,
        "curve": [_plain(estimate(column)) for column in np.mean(curves, axis=0).T],
        "peaks": [int(curve.mean(axis=0).argmax()) + 1 for curve in curves],
        "ways": {
            way: {
                "golden": _plain(estimate(own[:, 0])),
                "minus best of all": _plain(estimate(own[:, 0] - means[MOST][:, 0])),
                "minus best of N": _plain(estimate(own[:, 0] - means[PEAK][:, 0])),
                "proxy": float(own[:, 1].mean()), "kl": float(own[:, 2].mean()),
            }
            for way, own in means.items()
        },
    }  # fmt: skip


def tilted(proxy: FloatArray, golden: FloatArray, best: int) -> dict[str, FloatArray]:
    """Golden reward, proxy and KL divergence of each prompt by each way, shape (prompts, 3).

    Args:
        proxy: Rewards that select, shape (prompts, samples).
        golden: Golden rewards, of the same shape.
        best: N of the best-of-N that sets the level.
    """
    prompts, samples = proxy.shape
    level = float(expected_best(proxy, proxy)[:, best - 1].mean())
    order = np.argsort(-proxy, axis=1, kind="stable")
    shares = {
        PEAK: _placed(rank_probabilities(samples)[best - 1], order),
        MOST: _placed(rank_probabilities(samples)[-1], order),
    }
    numbers = np.repeat(np.arange(prompts), samples)
    palette = meet_targets({"proxy": proxy.ravel()}, prompts=numbers, exactly={"proxy": level})
    shares[LEVEL] = _tilt(proxy, palette.multipliers["proxy"])
    shares[MATCHED] = _tilt(proxy, _strength(proxy, float(_divergence(shares[PEAK]).mean())))
    return {
        way: np.stack(
            [(shares[way] * golden).sum(axis=1), (shares[way] * proxy).sum(axis=1), _divergence(shares[way])],
            axis=1,
        )
        for way in (PEAK, LEVEL, MATCHED, MOST)
    }


def _placed(by_rank: FloatArray, order: NDArray[np.intp]) -> FloatArray:
    """Probabilities of samples from those of ranks."""
    found = np.zeros(order.shape)
    np.put_along_axis(found, order, np.broadcast_to(by_rank, order.shape), axis=1)
    return found


def _tilt(proxy: FloatArray, strength: float) -> FloatArray:
    raised = np.exp(strength * (proxy - proxy.max(axis=1, keepdims=True)))
    return raised / raised.sum(axis=1, keepdims=True)


def _divergence(shares: FloatArray) -> FloatArray:
    """KL divergence from equal shares of each prompt, nats."""
    logs = np.log(np.where(shares > 0, shares, 1.0) * shares.shape[1])
    return (shares * logs).sum(axis=1)


def _strength(proxy: FloatArray, divergence: float) -> float:
    """Strength at which the tilt has this mean divergence, by bisection."""
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        under = _divergence(_tilt(proxy, middle)).mean() < divergence
        low, high = (middle, high) if under else (low, middle)
    return low


def _plain(found: Estimate) -> Row:
    return dict(found.to_json())


def as_markdown(report: Row) -> str:
    """The page of results."""
    sizes = [n for n in SHOWN if n <= report["samples"]]
    parts = [
        "# Ceilings against over-optimisation",
        "`OMP_NUM_THREADS=1 python experiments/ceilings.py --data DIR`",
        textwrap.fill(
            f"{report['samples']} samples of at most {report['tokens']} tokens of {report['model']} for each "
            f"of {report['prompts']} prompts of HH-RLHF. Proxies are linear rewards on frozen features from "
            f"few pairs, golden rewards from all other conversations; {report['seeds']} divisions. Golden "
            "rewards are in units of their deviation within prompts, 0 is a sample at random. Intervals of "
            "95 % are over prompts.",
            100,
        ),
        "## Golden reward of best-of-N by the proxy",
        "| proxy | accuracy of proxy / golden, % | "
        + " | ".join(f"N = {n}" for n in sizes)
        + " | N of the peak by seed |\n|---|---:|" + "---:|" * (len(sizes) + 1),
    ]  # fmt: skip
    lines = [parts.pop()]
    for name, row in report["proxies"].items():
        accuracy = " / ".join(f"{100 * np.mean(row['accuracy'][key]):.1f}" for key in ("proxy", "golden"))
        means = " | ".join(f"{row['curve'][n - 1]['mean']:.2f}" for n in sizes)
        lines.append(f"| {name} | {accuracy} | {means} | {', '.join(map(str, row['peaks']))} |")
    parts.append("\n".join(lines))
    parts += ["## The level instead of the maximum", _way_table(report)]
    return "\n\n".join(parts) + "\n"


def _way_table(report: Row) -> str:
    lines = [
        "| proxy | way | golden reward | minus best of all | minus best of N | proxy's mean | KL |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in report["proxies"].items():
        for way, own in row["ways"].items():
            cells = [_interval(own[key]) for key in ("golden", "minus best of all", "minus best of N")]
            lines.append(f"| {name} | {way} | {' | '.join(cells)} | {own['proxy']:.2f} | {own['kl']:.2f} |")
    return "\n".join(lines)


def _interval(row: Row) -> str:
    return Estimate(*(row[key] for key in ("mean", "stderr", "low", "high"))).with_interval(2)


if __name__ == "__main__":
    run(tyro.cli(Settings))
