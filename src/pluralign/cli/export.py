"""``pluralign export``: a trained folder -> one that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.rewards.export import export_folder as export


def export_folder(folder: Annotated[Path, tyro.conf.Positional], out: Path, json: JsonFile = None) -> None:
    """Write a reward model as a sequence classifier (for vLLM, TRL), or a policy with its adapter merged.

    A reward that no sequence classifier can give (attention among tokens, a sum over them) is refused.

    Example: pluralign export runs/harmless --out runs/harmless-classifier

    Args:
        folder: what a learner on texts wrote.
        out: the folder to write.
        json: a file for the figures.
    """
    kind = export(folder, out)
    wrote(out, f"{kind}; from_pretrained reads it")
    give_figures({"kind": kind, "out": str(out)}, json)
