"""``pluralign export``: a trained folder -> a folder that other tools load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, wrote


def export_folder(
    folder: Annotated[Path, tyro.conf.Positional], out: Path, base: str | None = None
) -> Figures:
    """Export a reward model as a sequence classifier (for vLLM, TRL), or a policy with its adapter merged.

    The weights are written in float32; rewards that a server computes in a lower precision differ.

    Rewards that a sequence classifier cannot represent (attention over tokens, or a sum of them) are refused.

    Example: pluralign export runs/harmless --out runs/harmless-classifier

    Args:
        folder: Folder of a reward model or policy of texts.
        out: Output folder.
        base: Base model of the folder, if it was moved.
    """
    # Help needs no model.
    from pluralign.rewards.export import export_folder as export

    kind = export(folder, out, model=base)
    command = (
        f"vllm serve {out}{' --runner pooling' if kind == 'sequence classifier' else ''} --dtype float32"
    )
    wrote(out, f"{kind} in float32; from_pretrained reads it, and vLLM serves it: {command}")
    return {"kind": kind, "out": str(out)}
