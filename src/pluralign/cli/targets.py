"""``pluralign targets``: completions x target mean rewards -> steering weights that reach them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import write_json
from pluralign.data.answers import AnswerSet, load_answers
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.lm.backbone import DTypeName
from pluralign.steer.targets import FloatArray, IntArray, Palette, meet_targets

_SD = "sd"
_UNITS = 10_000


@dataclass(frozen=True)
class Level:
    """Target level of a mean reward.

    Args:
        value: Level in the reward's own unit, or in standard deviations above the samples' mean.
        relative: Whether the level is in standard deviations.
    """

    value: float
    relative: bool

    @classmethod
    def parse(cls, text: str, name: str) -> Level:
        """Parse ``1.5``, ``+0.5sd`` or ``-0.5sd``."""
        relative = text.endswith(_SD) and text[0] in "+-"
        try:
            value = float(text.removesuffix(_SD) if relative else text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"expected a number, or standard deviations as in +0.5sd; found {text!r} for '{name}'",
                field="at_least",
            )
        return cls(value, relative)

    def on(self, samples: FloatArray) -> float:
        """The level in the reward's own unit."""
        return float(samples.mean() + self.value * samples.std()) if self.relative else self.value


def reach_targets(
    completions: str,
    rewards: tuple[str, ...],
    at_least: tuple[str, ...],
    out: Path,
    dtype: DTypeName = "float32",
    json: JsonFile = None,
) -> int:
    """Find the steering weights that bring mean rewards to target levels ("harmless at least at this level").

    The completions are samples of the model that will be steered. Among all reweightings of each prompt's
    samples that meet the targets, the one closest to the model in KL divergence determines the weights.
    Levels are means over the samples of these prompts; they guarantee nothing for a single answer. If no
    weights meet the targets, the closest ones are reported, and the exit code is 1. An interrupted run
    continues.

    The weights are exact for the model tilted by exp(sum of multiplier x reward). A mixture of policies
    equals that only if each policy is the model tilted by its own reward, as in DPO's optimum; verify with a
    sweep.

    Example: pluralign targets --completions draws.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --at-least harmless=+0.5sd --out runs/targets

    Args:
        completions: Samples of the model, several per prompt (`pluralign generate --samples N`).
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        at_least: Target of each constrained objective, as NAME=LEVEL; the others are free. A level is a
            number in the reward's own unit; +0.5sd or -0.5sd is that number of standard deviations above or
            below the samples' mean.
        out: Folder for targets.json and rewards.jsonl.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        json: File for the figures.
    """
    named = named_entries(rewards, "rewards", "NAME=REWARD")
    given = named_entries(at_least, "at_least", "NAME=LEVEL")
    if unknown := sorted(set(given) - set(named)):
        raise InputError(f"'{unknown[0]}' has no reward; there are {', '.join(named)}", field="at_least")
    levels = {name: Level.parse(text, name) for name, text in given.items()}
    samples = load_answers(completions)
    prompts = _prompts(samples)
    found = score_sources(
        named,
        {"samples": list(samples.answers.values())},
        out / "rewards.jsonl",
        wanted=[(name, "samples") for name in named],
        dtype=dtype,
    )
    columns: dict[str, FloatArray] = {name: np.concatenate(found[name, "samples"]) for name in named}
    targets = {name: level.on(columns[name]) for name, level in levels.items()}
    palette = meet_targets(columns, targets, prompts)
    _tell(palette, columns, targets, len(samples.answers))
    figures = {
        "completions": completions, "prompts": len(samples.answers), "samples": len(prompts),
        "rewards": named, "at_least": given, "targets": targets,
        "mean": {name: float(column.mean()) for name, column in columns.items()},
        "deviation": {name: float(column.std()) for name, column in columns.items()},
        "reachable": palette.reachable, "expected": dict(palette.expected), "shortfall": palette.shortfall,
        "multipliers": dict(palette.multipliers),
        "weights": None if palette.weights is None else dict(palette.weights),
        "strength": palette.strength, "effective_samples": palette.effective_samples,
    }  # fmt: skip
    write_json(out / "targets.json", figures)
    wrote(out / "targets.json", "rewards.jsonl is next to it")
    give_figures(figures, json)
    return 0 if palette.reachable else 1


def as_option(weights: SteeringWeights) -> str:
    """Weights in the format of ``--weights``: four digits that sum to one, without zero weights."""
    parts = {name: int(weight * _UNITS) for name, weight in weights.items()}
    # The remainder of rounding down goes to the weights that lost most by it.
    lost = sorted(weights, key=lambda name: parts[name] - weights[name] * _UNITS)
    for name in lost[: _UNITS - sum(parts.values())]:
        parts[name] += 1
    return ",".join(f"{name}={part / _UNITS:g}" for name, part in parts.items() if part)


def _prompts(samples: AnswerSet) -> IntArray:
    """Index of each sample's prompt."""
    sizes = [len(one.completions) for one in samples.answers.values()]
    if max(sizes) < 2:
        raise InputError("has one sample per prompt; targets need several", path=samples.path)
    return np.repeat(np.arange(len(sizes)), sizes)


def _tell(
    palette: Palette, columns: Mapping[str, FloatArray], targets: Mapping[str, float], prompts: int
) -> None:
    samples = len(next(iter(columns.values())))
    say(f"mean rewards of {samples} samples of {prompts} prompts")
    last = "multiplier" if palette.reachable else "missed by"
    rows: dict[str, list[str]] = {}
    for name, column in columns.items():
        then, goal = palette.expected[name], targets.get(name)
        missed = max(0.0, goal - then) if goal is not None else 0.0
        cells = [f"{column.mean():.4f}", "free" if goal is None else f"{goal:.4f}", f"{then:.4f}"]
        rows[name] = [*cells, f"{palette.multipliers[name] if palette.reachable else missed:.4f}"]
    say_table(["mean now", "target", "mean then" if palette.reachable else "at nearest", last], rows)
    if not palette.reachable:
        say(
            "no mixture meets these targets on these samples: the nearest misses one by "
            f"{palette.shortfall:.3f} of its standard deviations"
        )
    elif palette.weights is None:
        say("no steering is needed: the samples meet the targets as they are")
    else:
        say(f"steering weights: {as_option(palette.weights)}")
        strength, beta = palette.strength, 1 / palette.strength
        say(f"strength: {strength:.4g}, that of policies learned from these rewards with beta {beta:.4g}")
        say(f"effective sample size: {palette.effective_samples:.1f} of {samples}")
