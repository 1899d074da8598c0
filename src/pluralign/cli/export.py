"""``pluralign export``: a trained folder -> a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import JsonFile, give_figures, wrote
from pluralign.rewards.export import export_folder as export


def export_folder(
    folder: Annotated[Path, tyro.conf.Positional], out: Path, base: str | None = None, json: JsonFile = None
) -> None:
    """Export a reward model as a sequence classifier (for vLLM, TRL), or a policy with its adapter merged.

    Rewards that a sequence classifier cannot represent (attention over tokens, or a sum of them) are refused.

    Example: pluralign export runs/harmless --out runs/harmless-classifier

    Args:
        folder: Folder of a reward model or policy of texts.
        out: Output folder.
        base: Base model of the folder, if it was moved.
        json: File for the figures.
    """
    kind = export(folder, out, model=base)
    wrote(out, f"{kind}; from_pretrained reads it")
    give_figures({"kind": kind, "out": str(out)}, json)
