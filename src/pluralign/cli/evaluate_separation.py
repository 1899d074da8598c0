"""``pluralign evaluate separation``: separation of sources and styles of answers by rewards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import Figures, named_entries, say, say_table, wrote
from pluralign.data.answers import load_answers
from pluralign.lm.dtypes import DTypeName

if TYPE_CHECKING:
    from pluralign.evaluate.rewards.source_separation import SourceSeparation


def evaluate_separation(
    rewards: tuple[str, ...],
    sources: tuple[str, ...],
    out: Path,
    styles: bool = False,
    dtype: DTypeName = "float32",
    seed: int = 0,
) -> Figures:
    """Measure how well rewards separate sources of answers to the same prompts, and texts from restyled
    texts.

    Each figure is the probability (AUC) that the second of two answers has the higher reward; 0.5 means no
    separation. An interrupted run continues.

    Example: pluralign evaluate separation --rewards irl=runs/irl bt=runs/bt
    --sources init=init.jsonl sft=sft.jsonl demo=demo.jsonl --styles True --out runs/separation

    Args:
        rewards: Rewards to compare, as NAME=REWARD.
        sources: Sources of answers, as NAME=FILE.
        out: Folder for report.json, separation.svg and rewards.jsonl.
        styles: Whether to compare the answers with restyled versions (lower case, curly quotes, ...) as well.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        seed: Random seed of the bootstrap.
    """
    # Help needs no model.
    from pluralign.evaluate.rewards.source_separation import separate_sources

    named = named_entries(rewards, "rewards", "NAME=REWARD")
    read = {name: load_answers(file) for name, file in named_entries(sources, "sources", "NAME=FILE").items()}
    found = separate_sources(named, read, out, styles=styles, dtype=dtype, seed=seed)
    _report(found)
    figures = {"rewards": named, "sources": {name: own.path for name, own in read.items()}, "seed": seed}
    wrote(found.save(out, figures), "separation.svg is next to it")
    return {**figures, "separation": found.to_json()}


def _report(found: SourceSeparation) -> None:
    for edit, prompts in found.unused_edits.items():
        say(f"'{edit}' changes answers to {prompts} prompts and is left out")
    for kind, columns in found.columns.items():
        say(f"{kind}: probability that the second has the higher reward, with standard errors")
        rows = {name: [one.auc.with_error() for one in own] for name, own in columns.items()}
        say_table(list(found.table), rows)
