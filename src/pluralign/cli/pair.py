"""``pluralign pair``: annotations -> pairs.jsonl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.pair import pair


def pair_annotations(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    objective: str,
    out: Path,
    ties: Literal["drop", "soft"] = "drop",
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Turn annotations into chosen and rejected segments, in splits that share no trajectory.

    Ties are counted, and dropped or kept as pairs of weight one half.

    Example: pluralign pair runs/score.jsonl --objective score --out runs/score-pairs.jsonl

    Args:
        files: annotations.jsonl of one or several raters; each rater has one vote on a comparison.
        objective: which objective's annotations.
        out: the file to write.
        ties: drop them, or keep them with weight 0.5.
        shares: of train, validation and test.
        seed: of the splits.
        json: a file for the figures.
    """
    counts = pair(files, out, objective=objective, ties=ties, shares=shares, seed=seed).counts
    wrote(out, ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
    give_figures(counts, json)
