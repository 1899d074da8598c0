"""``pluralign evaluate best-of-n``: golden rewards of best-of-N by several rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.data.answers import AnswerSet, load_answers
from pluralign.evaluate.pictures.alignment import NORMALISED, Curve, draw_curves
from pluralign.evaluate.rewards.best_of_n import BestOfN, best_of_n, normalised
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.statistics import Estimate, FloatArray, estimate
from pluralign.lm.backbone import DTypeName

_GOLDEN = "golden"


def evaluate_best_of_n(
    completions: str,
    rewards: tuple[str, ...],
    golden: str,
    out: Path,
    base: str | None = None,
    demonstrations: str | None = None,
    greedy: str | None = None,
    dtype: DTypeName = "float32",
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Measure best-of-N by each reward with a golden reward, for every N from one set of samples.

    Rewards and the golden reward are anything that `pluralign score` takes. In the last line of the table,
    the golden reward selects itself: no reward can do better on these samples. An interrupted run continues.

    Example: pluralign evaluate best-of-n --completions draws.jsonl --rewards irl=runs/irl bt=runs/bt
    --golden runs/golden --base base.jsonl --demonstrations demo.jsonl --greedy greedy.jsonl --out runs/bon

    Args:
        completions: Samples, the same number per prompt (`pluralign generate --samples N`).
        rewards: Rewards that select, as NAME=REWARD.
        golden: Golden reward, which measures the selected samples.
        out: Folder for report.json, curves.svg and rewards.jsonl.
        base: Answers of the base model to the same prompts; their mean golden reward becomes 0.
        demonstrations: Demonstrations for the same prompts; their mean golden reward becomes 1.
        greedy: One deterministic answer to each prompt (`--temperature 0`), the baseline of win rates.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        seed: Random seed of the bootstrap.
        json: File for the figures.
    """
    named = named_entries(rewards, "rewards", "NAME=REWARD")
    if _GOLDEN in named:
        raise InputError(f"'{_GOLDEN}' is the name of the golden reward", field="rewards")
    if (base is None) != (demonstrations is None):
        raise InputError("give both base and demonstrations, which normalise rewards, or neither")
    draws = load_answers(completions)
    samples = _samples(draws)
    files = {"base": base, "demonstrations": demonstrations, "greedy": greedy}
    others = {n: load_answers(f, one=n == "greedy").of(draws) for n, f in files.items() if f is not None}
    found = score_sources(
        {**named, _GOLDEN: golden},
        {"draws": list(draws.answers.values()), **others},
        out / "rewards.jsonl",
        wanted=[(name, "draws") for name in named] + [(_GOLDEN, name) for name in ("draws", *others)],
        dtype=dtype,
    )
    measured: dict[str, FloatArray] = {
        name: np.array([float(np.mean(own)) for own in found[_GOLDEN, name]]) for name in others
    }
    worth = np.array(found[_GOLDEN, "draws"])
    curves = {
        name: best_of_n(np.array(found[name, "draws"]), worth, measured.get("greedy"), seed=seed)
        for name in (*named, _GOLDEN)
    }
    scales = _scales(curves, measured, seed)
    _draw_and_tell(curves, scales, out, len(worth))
    figures = {
        "completions": completions, "prompts": len(worth), "samples": samples, "rewards": named,
        "golden": golden, "seed": seed, **_figures(curves, scales, measured, seed),
    }  # fmt: skip
    write_json(out / "report.json", figures)
    wrote(out / "report.json", f"{len(curves)} curves up to N = {samples}; curves.svg is next to it")
    give_figures(figures, json)


def _figures(
    curves: Mapping[str, BestOfN], scales: Mapping[str, Sequence[Estimate]],
    measured: Mapping[str, FloatArray], seed: int,
) -> dict[str, Any]:  # fmt: skip
    kl_bounds = list(curves[_GOLDEN].kl_bound)
    return {
        "n": list(range(1, len(kl_bounds) + 1)),
        "kl_bound": kl_bounds,
        "golden_of": {name: estimate(values, seed=seed).to_json() for name, values in measured.items()},
        "curves": {
            name: {
                "golden": [one.to_json() for one in curve.golden],
                "normalised": [one.to_json() for one in scales[name]] if scales else None,
                "win_rate": None if curve.win_rate is None else [one.to_json() for one in curve.win_rate],
            }
            for name, curve in curves.items()
        },
    }


def _samples(draws: AnswerSet) -> int:
    """The number of samples that every prompt has."""
    prompts = list(draws.answers.values())
    if len(prompts) < 2:
        raise InputError("has one prompt; intervals need at least two", path=draws.path)
    expected = len(prompts[0].completions)
    for one in prompts:
        if len(one.completions) != expected:
            raise InputError(
                "every prompt needs the same number of samples: "
                f"this one has {len(one.completions)}, the first has {expected}",
                path=draws.path,
                row=one.row,
            )
    return expected


def _scales(
    curves: Mapping[str, BestOfN], measured: Mapping[str, FloatArray], seed: int
) -> dict[str, list[Estimate]]:
    """Normalised curves; empty, after reporting the reason, if there is no scale."""
    if "base" not in measured:
        return {}
    ends = (measured["base"], measured["demonstrations"])
    try:
        return {name: normalised(curve.golden_by_prompt, *ends, seed=seed) for name, curve in curves.items()}
    except InputError as error:
        say(f"not normalised: {error}")
        return {}


def _draw_and_tell(
    curves: Mapping[str, BestOfN], scales: Mapping[str, Sequence[Estimate]], out: Path, prompts: int
) -> None:
    values = {name: scales[name] if scales else curve.golden for name, curve in curves.items()}
    label = NORMALISED if scales else "golden reward"
    titles = {name: f"{name} (ceiling)" if name == _GOLDEN else name for name in curves}
    drawn = {titles[name]: Curve(values[name], curve.win_rate) for name, curve in curves.items()}
    draw_curves(drawn, out / "curves.svg", label=label)
    samples = len(values[_GOLDEN])
    shown = sorted({min(4**k, samples) for k in range(6)})
    wins = {titles[name]: c.win_rate for name, c in curves.items() if c.win_rate is not None}
    for title, family in ((label, {titles[n]: v for n, v in values.items()}), ("win rate", wins)):
        if family:
            say(f"{title} of the best of N on {prompts} prompts, with standard errors")
            rows = {name: [curve[n - 1].with_error() for n in shown] for name, curve in family.items()}
            say_table([f"N = {n}" for n in shown], rows)
