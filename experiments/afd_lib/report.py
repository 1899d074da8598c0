"""Tables and figures of the finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from afd_lib.across import over_seeds

from pluralign.core import InputError
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.evaluate.pictures.alignment import (
    NORMALISED,
    Curve,
    HeatPanel,
    draw_curves,
    draw_scores,
    draw_separation,
)
from pluralign.evaluate.rewards.best_of_n import best_of_n, normalised
from pluralign.evaluate.rewards.separation import separation
from pluralign.evaluate.statistics import Estimate, estimate, paired_difference
from pluralign.rewards.ensemble import lower_bound, mean_reward, minimum_reward

ENSEMBLES = {
    "ensemble, mean": (("Init-SFT", "Init-SFT, BT", "Init-SFT, AVA-p"), mean_reward),
    "ensemble, minimum": (("Init-SFT", "Init-SFT, BT", "Init-SFT, AVA-p"), minimum_reward),
    "ensemble, lower bound": (("Init-SFT", "Init-SFT, BT", "Init-SFT, AVA-p"), lower_bound),
    "Init-SFT + preferences": (("Init-SFT", "preferences"), mean_reward),
}
DRAWN = ("Init-SFT", "Init-Demo", "SFT-Demo", "preferences", "closed form", "ensemble, mean")
CONTRASTS = (("base", "SFT"), ("SFT", "demonstrations"), ("base", "demonstrations"))
AT = (4, 16, 64)


def write_report(out: Path, results: Path) -> None:
    """Write afd.json and afd.md of every finished task and seed in ``out``, and each task's first seed's
    pictures."""
    found = {path.stem: read_json(path) for path in sorted(out.glob("*-*.json"))}
    results.mkdir(parents=True, exist_ok=True)
    figures = {name: _figures(one) for name, one in found.items()}
    across = over_seeds(figures)
    write_json(results / "afd.json", {**figures, **({"over_seeds": across} if across else {})})
    parts = [_across_markdown(task, one) for task, one in across.items()]
    text = "\n\n".join([*parts, *(_markdown(name, one) for name, one in figures.items())])
    with replace_when_whole(results / "afd.md") as temporary:
        temporary.write_text(text + "\n", "utf-8")
    drawn: set[str] = set()
    for name, one in found.items():
        task = name.rpartition("-")[0]
        if task not in drawn:
            drawn.add(task)
            _draw(name, one, results)


def ensemble(rewards: Mapping[str, Any], members: tuple[str, ...], combine: Any) -> np.ndarray:
    """Combined rewards of samples, each member standardised within prompts."""
    means, variances = [], []
    for name in members:
        values = np.array(rewards[name])
        centred = values - values.mean(axis=1, keepdims=True)
        deviation = centred.std()
        means.append((values - values.mean()) / deviation)
        sigma = np.array(rewards.get(f"{name} sigma", np.zeros_like(values)))
        variances.append((sigma / deviation) ** 2)
    stacked = np.stack(means)
    return combine(stacked, np.sqrt(np.stack(variances).mean(axis=0) + stacked.var(axis=0)))


def _rewards(one: Mapping[str, Any]) -> dict[str, np.ndarray]:
    rewards = {
        name: np.array(values) for name, values in one["rewards"].items() if not name.endswith(" sigma")
    }
    return rewards | {name: ensemble(one["rewards"], *how) for name, how in ENSEMBLES.items()}


def _scale(one: Mapping[str, Any], values: np.ndarray) -> list[Estimate] | None:
    base = np.array(one["policies"]["base"]["sampled"]).mean(axis=1)
    try:
        return normalised(values, base, np.array(one["demonstrations"])[:, 0])
    except InputError:
        # The golden reward does not score the demonstrations above the base model.
        return None


def _figures(one: Mapping[str, Any]) -> dict[str, Any]:
    sft = np.array(one["policies"]["SFT"]["sampled"]).mean(axis=1)
    greedy = np.array(one["policies"]["SFT"]["greedy"])[:, 0]
    golden = np.array(one["best_of_golden"])
    rows: list[dict[str, Any]] = []
    for name, scores in one["policies"].items():
        for kind in ("greedy", "sampled"):
            own = np.array(scores[kind]).mean(axis=1)
            rows.append(_row(one, f"{name}, {kind}", own, sft, greedy))
    rows.append(_row(one, "demonstrations", np.array(one["demonstrations"])[:, 0], sft, greedy))
    best: list[dict[str, Any]] = []
    for name, rewards in {**_rewards(one), "golden (ceiling)": golden}.items():
        curve = best_of_n(rewards, golden, greedy)
        for n in AT:
            if n <= golden.shape[1]:
                own = curve.golden_by_prompt[:, n - 1]
                row = _row(one, name, own, sft, greedy)
                assert curve.win_rate is not None
                best.append(
                    {
                        **row,
                        "n": n,
                        "kl_bound": curve.kl_bound[n - 1],
                        "wins": as_figures(curve.win_rate[n - 1]),
                    }
                )
    return {
        "golden_validation_accuracy": one["golden"].get("validation_accuracy"), "prompts": one["prompts"],
        "policies": rows, "best_of_n": best, "within": _within(one), "separation": _separation(one),
        "judged": one.get("judged", {}), **{key: one.get(key, {}) for key in ("styles", "style_edits")},
    }  # fmt: skip


def _row(
    one: Mapping[str, Any], name: str, own: np.ndarray, sft: np.ndarray, greedy: np.ndarray
) -> dict[str, Any]:
    scaled = _scale(one, own)
    return {
        "name": name, "golden": as_figures(estimate(own)),
        "normalised": None if scaled is None else as_figures(scaled[0]),
        "over_sft": as_figures(paired_difference(own, sft)),
        "over_greedy_sft": as_figures(paired_difference(own, greedy)),
    }  # fmt: skip


def _within(one: Mapping[str, Any]) -> dict[str, float]:
    """Correlation of each reward with the golden one among the samples of a prompt."""
    golden = np.array(one["best_of_golden"])
    golden = golden - golden.mean(axis=1, keepdims=True)
    centred = {name: own - own.mean(axis=1, keepdims=True) for name, own in _rewards(one).items()}
    return {
        name: float((own * golden).sum() / np.sqrt((own**2).sum() * (golden**2).sum()))
        for name, own in centred.items()
    }


def _separation(one: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    sources = one["sources"]
    models = [name for name in sources["SFT"] if not name.endswith(" sigma")]
    found: dict[str, dict[str, Any]] = {}
    for model in models:
        answers = {
            source: {str(i): row for i, row in enumerate(scores[model])} for source, scores in sources.items()
        }
        found[model] = {
            f"{a} / {b}": as_figures(separation(answers[a], answers[b], names=(a, b)).auc)
            for a, b in CONTRASTS
        }
    return found


def as_figures(value: Estimate) -> dict[str, float]:
    """Mean and interval as plain values."""
    return {"mean": value.mean, "low": value.low, "high": value.high}


def over_runs(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean of a figure of several runs, with its 95 % interval if two or more have it; None if none has."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    return estimate(known).to_json() if len(known) > 1 else {"mean": known[0]}


def cell(value: Mapping[str, float] | None, digits: int = 2) -> str:
    """Mean and interval as text."""
    if value is None:
        return ""
    if "low" not in value:
        return f"{value['mean']:.{digits}f}"
    return f"{value['mean']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def _across_markdown(task: str, found: Mapping[str, Any]) -> str:
    lines = [
        f"## {task}: {len(found['seeds'])} training seeds ({', '.join(found['seeds'])})",
        "",
        "Each seed divides the data anew, and trains and samples by itself; intervals are over seeds.",
    ]
    for head, key in (
        ("golden reward above SFT's samples, policy", "policies"),
        ("the same, best of N from SFT, chosen by", "best_of_n"),
        ("share of wins over SFT's greedy answer, best of the largest N", "wins"),
        ("correlation with the golden reward among a prompt's samples", "within"),
        ("separation, reward and sources", "separation"),
    ):
        rows = [
            (name, ", ".join(f"{value:.2f}" for value in row["each"]), cell(row))
            for name, row in found[key].items()
        ]
        lines += write_table((head, "each seed", "mean"), rows)
    return "\n".join(lines)


def _markdown(name: str, figures: Mapping[str, Any]) -> str:
    accuracy = figures["golden_validation_accuracy"]
    lines = [
        f"## {name}: {figures['prompts']} test prompts",
        "",
        f"The golden reward orders {100 * accuracy:.1f} % of its own validation pairs as people did.",
    ]
    scores = ("golden", "normalised", "over_sft")
    lines += write_table(
        ("policy", "golden reward", "base = 0, demonstrations = 1", "above SFT's samples"),
        [(row["name"], *(cell(row[key]) for key in scores)) for row in figures["policies"]],
    )
    head = ("best of N from SFT, chosen by", "N", "golden reward", "base = 0, demonstrations = 1")
    lines += write_table(
        (*head, "above SFT's samples", "above SFT's greedy answer", "wins against it"),
        [
            (row["name"], str(row["n"]), *(cell(row[k]) for k in (*scores, "over_greedy_sft", "wins")))
            for row in figures["best_of_n"]
        ],
    )
    contrasts = [f"{a} / {b}" for a, b in CONTRASTS]
    lines += ["", "Separation: how probably an answer of the second source has the greater reward."]
    lines += write_table(
        ("reward", *contrasts),
        [(model, *(cell(row[c]) for c in contrasts)) for model, row in figures["separation"].items()],
    )
    styles = figures["styles"]
    if styles:
        edits = list(next(iter(styles.values())))
        lines += ["", "Style: how probably the same answer in another style has the greater reward."]
        lines += write_table(
            ("reward", *edits), [(model, *(cell(row[e]) for e in edits)) for model, row in styles.items()]
        )
    changed = figures["style_edits"]
    if changed:
        edits = list(changed)
        lines += ["", "Share of the answers that an edit changes: what a style is about, by source."]
        lines += write_table(
            ("source", *edits),
            [(name, *(f"{changed[e][name]:.2f}" for e in edits)) for name in changed[edits[0]]],
        )
    shares = ("win", "tie", "lose", "contradictions")
    lines += write_table(
        ("SmolLM2 as the judge, both orders", "win", "tie", "lose", "orders disagree"),
        [(pair, *(f"{own[k]:.3f}" for k in shares)) for pair, own in figures["judged"].items()],
    )
    return "\n".join(lines)


def write_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table; the first column is text."""
    ruler = "| --- |" + " ---: |" * (len(head) - 1)
    return ["", f"| {' | '.join(head)} |", ruler, *(f"| {' | '.join(row)} |" for row in rows)]


def _draw(name: str, one: Mapping[str, Any], results: Path) -> None:
    golden = np.array(one["best_of_golden"])
    greedy = np.array(one["policies"]["SFT"]["greedy"])[:, 0]
    rewards = _rewards(one)
    curves: dict[str, Curve] = {}
    scaled = _scale(one, golden.mean(axis=1)) is not None
    for reward in DRAWN:
        found = best_of_n(rewards[reward], golden, greedy)
        values = _scale(one, found.golden_by_prompt) if scaled else list(found.golden)
        assert values is not None
        curves[reward] = Curve(values, found.win_rate)
    label = NORMALISED if scaled else "golden reward"
    draw_curves(curves, results / f"afd-{name}-best-of-n.svg", label=label)
    bars: dict[str, Estimate] = {}
    for policy, scores in one["policies"].items():
        own = np.array(scores["sampled"]).mean(axis=1)
        bars[policy] = (_scale(one, own) or [estimate(own)])[0]
    draw_scores({name: bars}, results / f"afd-{name}-policies.svg", label=label)
    table = _separation(one)
    auc = np.array([[row[f"{a} / {b}"]["mean"] for a, b in CONTRASTS] for row in table.values()])
    panels = [HeatPanel("sources", [f"{a} / {b}" for a, b in CONTRASTS], auc)]
    if "styles" in one:
        styles = one["styles"]
        edits = list(next(iter(styles.values())))
        changed = np.array([[styles[model][edit]["mean"] for edit in edits] for model in table])
        panels.append(HeatPanel("the same text in another style", edits, changed))
    draw_separation(list(table), panels, results / f"afd-{name}-separation.svg")
