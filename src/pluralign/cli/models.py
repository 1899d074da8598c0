"""``pluralign models``: supported uses of a language model, and locations of models that were moved."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import Figures, say
from pluralign.evaluate.model_check import check_model
from pluralign.folders.card import locate_model
from pluralign.lm.dtypes import DTypeName


def check(model: Annotated[str, tyro.conf.Positional], dtype: DTypeName = "auto") -> Figures:
    """Show the supported uses of a language model: right, right but slower ("plain way"), or refused with a
    reason.

    A small forest of random tokens is compared with separate sequences; the result is stored.

    Example: pluralign models check smollm2-135m

    Args:
        model: Hub id, local folder or built-in name.
        dtype: Floating-point type of the weights.
    """
    uses = check_model(model, dtype=dtype)
    width = max(map(len, uses))
    for name, use in uses.items():
        say(f"{name:{width}}  {use.way:9}  {use.note}".rstrip())
    return {name: asdict(use) for name, use in uses.items()}


def locate(
    folder: Annotated[Path, tyro.conf.Positional], model: Annotated[str, tyro.conf.Positional]
) -> Figures:
    """Record where the base model of a trained folder is, after the model was moved.

    Folders find a model that moved together with them, and hub ids. The model is loaded, and refused if it is
    not the one that the folder was trained on.

    Example: pluralign models locate runs/helpful /models/llama

    Args:
        folder: Folder of a trained policy or reward model.
        model: Hub id or folder of its base model.
    """
    before = locate_model(folder, model)
    say(f"{folder}: the base model is {model} (it was {before})")
    return {"folder": str(folder), "model": model, "before": before}
