"""``pluralign targets``: completions x target mean rewards -> steering weights that reach them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.targets import ReachedTargets


def reach_targets(
    completions: str,
    rewards: tuple[str, ...],
    at_least: tuple[str, ...],
    out: Path,
    dtype: DTypeName = "float32",
) -> tuple[Figures, int]:
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
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.targets import Level
    from pluralign.evaluate.rewards.targets import reach_targets as reach

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    given = named_entries(at_least, "at_least", "NAME=LEVEL")
    levels = {name: Level.parse(text, name) for name, text in given.items()}
    found = reach(load_answers(completions), dict(named), levels, out, dtype=dtype)
    _report(found)
    path = out / "targets.json"
    figures = found.save(path, {"completions": completions, "rewards": named, "at_least": given})
    wrote(path, "rewards.jsonl is next to it")
    return figures, 0 if found.palette.reachable else 1


def _report(found: ReachedTargets) -> None:
    palette, samples = found.palette, found.samples
    say(f"mean rewards of {samples} samples of {found.prompts} prompts")
    rows: dict[str, list[str]] = {}
    for name, column in found.rewards.items():
        then, goal = palette.expected[name], found.targets.get(name)
        missed = max(0.0, goal - then) if goal is not None else 0.0
        cells = [f"{column.mean():.4f}", "free" if goal is None else f"{goal:.4f}", f"{then:.4f}"]
        rows[name] = [*cells, f"{palette.multipliers[name] if palette.reachable else missed:.4f}"]
    last = ["mean then", "multiplier"] if palette.reachable else ["at nearest", "missed by"]
    say_table(["mean now", "target", *last], rows)
    if not palette.reachable:
        say(
            "no mixture meets these targets on these samples: the nearest misses one by "
            f"{palette.shortfall:.3f} of its standard deviations"
        )
    elif palette.weights is None:
        say("no steering is needed: the samples meet the targets as they are")
    else:
        say(f"steering weights: {palette.weights.to_text()}")
        strength, beta = palette.strength, 1 / palette.strength
        say(f"strength: {strength:.4g}, that of policies learned from these rewards with beta {beta:.4g}")
        say(f"effective sample size: {palette.effective_samples:.1f} of {samples}")
