"""``pluralign targets``: completions x target mean rewards -> steering weights that reach them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.core.level import Level
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.targets import ReachedTargets


def reach_targets(
    completions: str,
    rewards: tuple[str, ...],
    out: Path,
    at_least: tuple[str, ...] = (),
    at_most: tuple[str, ...] = (),
    exactly: tuple[str, ...] = (),
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
        out: Folder for targets.json and rewards.jsonl.
        at_least: Smallest acceptable mean reward, as NAME=LEVEL; the others are free. A level
            is a number in the reward's own unit; +0.5sd or -0.5sd is that number of standard deviations above
            or below the samples' mean.
        at_most: Largest acceptable mean reward, as NAME=LEVEL.
        exactly: Required mean reward, as NAME=LEVEL, for instance the level at which a reward stops being a
            good proxy (`pluralign evaluate best-of-n`).
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.targets import reach_targets as reach

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    given = {
        field: named_entries(entries, field, "NAME=LEVEL", required=False)
        for field, entries in (("at_least", at_least), ("at_most", at_most), ("exactly", exactly))
    }
    levels = {
        field: {name: Level.parse(text, name, field) for name, text in own.items()}
        for field, own in given.items()
    }
    found = reach(
        load_answers(completions), dict(named), levels["at_least"], out, at_most=levels["at_most"],
        exactly=levels["exactly"], dtype=dtype,
    )  # fmt: skip
    _report(found)
    path = out / "targets.json"
    figures = found.save(path, {"completions": completions, "rewards": named, **given})
    wrote(path, "rewards.jsonl is next to it")
    return figures, 0 if found.palette.reachable else 1


def _report(found: ReachedTargets) -> None:
    palette, samples = found.palette, found.samples
    say(f"mean rewards of {samples} samples of {found.prompts} prompts")
    rows: dict[str, list[str]] = {}
    for name, column in found.rewards.items():
        then = palette.expected[name]
        last = palette.multipliers[name] if palette.reachable else found.missed(name)
        rows[name] = [f"{column.mean():.4f}", found.goals(name), f"{then:.4f}", f"{last:.4f}"]
    columns = ["mean then", "multiplier"] if palette.reachable else ["at nearest", "missed by"]
    say_table(["mean now", "target", *columns], rows)
    if not palette.reachable:
        say(
            "no mixture meets these targets on these samples: the nearest misses one by "
            f"{palette.shortfall:.3f} of its standard deviations"
        )
    elif palette.lowered:
        say(
            f"to be lowered: {', '.join(palette.lowered)}. Weights cannot say that, so there are none; a "
            "policy learned for the opposite could"
        )
    elif palette.weights is None:
        say("no steering is needed: the samples meet the targets as they are")
    else:
        say(f"steering weights: {palette.weights.to_text()}")
        strength, beta = palette.strength, 1 / palette.strength
        say(f"strength: {strength:.4g}, that of policies learned from these rewards with beta {beta:.4g}")
        say(f"effective sample size: {palette.effective_samples:.1f} of {samples}")
