"""``pluralign evaluate golden``: golden rewards of policies' answers, on a scale from base to
demonstrations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.golden import GoldenScores


def evaluate_golden(
    sources: tuple[str, ...],
    golden: str,
    base: str,
    demonstrations: str,
    out: Path,
    dtype: DTypeName = "float32",
    seed: int = 0,
) -> Figures:
    """Score policies' answers to the same prompts with a golden reward: base is 0, demonstrations are 1.

    The golden reward should be one that no policy was trained on: a reward model's folder, or any sequence
    classifier. Each policy is also compared with the first one, prompt by prompt. An interrupted run
    continues.

    Example: pluralign evaluate golden --sources sft=sft.jsonl spin=spin.jsonl --golden classifier:NAME
    --base base.jsonl --demonstrations demo.jsonl --out runs/golden

    Args:
        sources: Answers of each policy, as NAME=FILE (`pluralign generate`); several answers to one prompt
            are averaged.
        golden: Golden reward: anything that `pluralign score` takes.
        base: Answers of the base model to the same prompts.
        demonstrations: Demonstrations for the same prompts.
        out: Folder for report.json, scores.svg and rewards.jsonl.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        seed: Random seed of the bootstrap.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.golden import golden_scores

    named = named_entries(sources, "sources", "NAME=FILE")
    policies = {name: load_answers(path) for name, path in named.items()}
    ends = {"base": load_answers(base), "demonstrations": load_answers(demonstrations)}
    found = golden_scores(policies, ends, golden, out, dtype=dtype, seed=seed)
    _report(found)
    figures = found.save(out, golden, seed)
    wrote(out / "report.json", f"{len(named)} policies; scores.svg is next to it")
    return figures


def _report(found: GoldenScores) -> None:
    if found.note:
        say(f"not normalised: {found.note}")
    columns = {"golden": found.rewards}
    if found.normalised:
        columns["base 0, demonstrations 1"] = found.normalised
    columns[f"above {found.first}"] = found.above_first
    say(f"golden reward on {found.prompts} prompts, with standard errors")
    rows = {
        name: [column[name].with_error() if name in column else "" for column in columns.values()]
        for name in found.rewards
    }
    say_table(list(columns), rows)
