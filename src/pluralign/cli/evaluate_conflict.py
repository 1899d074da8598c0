"""``pluralign evaluate conflict``: samples x rewards -> which prompts make objectives conflict."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName


def evaluate_conflict(
    completions: str,
    rewards: tuple[str, ...],
    out: Path,
    threshold: float = 0.5,
    dtype: DTypeName = "float32",
) -> Figures:
    """Find out whether the prompt or the model forces a trade-off between objectives.

    Steering can choose only between answers that a model may give. For each prompt, the rewards of its
    samples are compared: none, one or several of them differ, or several differ and exclude each other
    (correlation below -0.5). A prompt where one reward differs leaves nothing to trade off. An interrupted
    run continues.

    Example: pluralign evaluate conflict --completions draws.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --out runs/conflict

    Args:
        completions: Samples, several per prompt (`pluralign generate --samples N`).
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        out: Folder for conflict.json, conflict.svg and rewards.jsonl.
        threshold: Deviation within a prompt from which on a reward differs, in units of its pooled deviation
            within prompts.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.conflict import evaluate_conflict as evaluate

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    found = evaluate(load_answers(completions), dict(named), out, threshold=threshold, dtype=dtype)
    say(f"{len(found.prompts)} prompts, by which rewards differ between their samples")
    say_table(["share"], {kind: [f"{share:.1%}"] for kind, share in found.shares.items()})
    say("share of each reward's variance between prompts, which no answer changes")
    say_table(["between"], {name: [f"{share:.1%}"] for name, share in found.between.items()})
    if found.volume is not None:
        said = found.volume.with_interval()
        say(f"of the box between worst and best rewards, samples dominate {said} (1: no conflict)")
    figures = {"completions": completions, "rewards": named, "threshold": threshold}
    wrote(found.save(out, figures), "conflict.svg is next to it")
    return {**figures, **{name: value for name, value in found.to_json().items() if name != "prompts"}}
