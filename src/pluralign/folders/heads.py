"""Folders of heads: one model, and a low-rank change of its vocabulary head for each objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pluralign.core import InputError
from pluralign.folders.card import CARD, read_card, read_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.folders.tuned import load_tuned_backbone
from pluralign.lm.backbone import Backbone
from pluralign.lm.head_change import HeadChange, require_changeable
from pluralign.lm.model_parts import output_embeddings

KIND = "objective_heads"
HEADS = "heads.safetensors"


@dataclass(frozen=True, eq=False)
class HeadedModel:
    """One model with a head for each objective: W_k = W_0 + B_k A_k.

    Args:
        name: Name in reports.
        backbone: The model, with its adapter if it was trained with one; its vocabulary head is W_0.
        heads: Change of the vocabulary head, by objective.
    """

    name: str
    backbone: Backbone
    heads: Mapping[str, HeadChange]


def head_tensors(heads: Mapping[str, HeadChange]) -> dict[str, Tensor]:
    """Tensors of the file of heads: ``OBJECTIVE.down`` (A) and ``OBJECTIVE.up`` (B)."""
    return {f"{name}.{part}": value for name, head in heads.items() for part, value in _parts(head).items()}


def is_heads_folder(folder: str | Path) -> bool:
    """Whether a folder is one of heads; its files are not checked."""
    return (Path(folder) / CARD).is_file() and read_card(Path(folder))["pluralign"] == KIND


def read_heads_folder(folder: Path) -> dict[str, Any]:
    """Card of a folder of heads, after checking every file.

    Raises:
        InputError: The folder holds something else, or a file is missing or damaged.
    """
    content = read_folder(folder, KIND, HEADS)
    named: Any = content.get("objectives")
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):  # pyright: ignore[reportUnknownVariableType]
        raise InputError(
            f"expected names of objectives, found {named!r:.60}", path=folder / CARD, field="objectives"
        )
    return content


def load_heads(
    folder: str | Path, *, dtype: torch.dtype | None = None, model: str | None = None, quantized: bool = True
) -> HeadedModel:
    """Load heads and their model.

    Args:
        folder: Folder written by ``learn mah-dpo``.
        dtype: Floating-point type of the model's weights; float32 by default. The heads are in float32.
        model: Hub id or folder of the base model, if it was moved.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits.

    Raises:
        InputError: The folder holds no heads or those of other objectives than its card names, or the model
            is not the one that they were trained on.
    """
    folder = Path(folder)
    content = read_heads_folder(folder)
    tensors, names = read_tensors(folder / HEADS), list(content["objectives"])
    wanted = {f"{name}.{part}" for name in names for part in ("down", "up")}
    if strange := sorted(wanted ^ set(tensors)):
        found = "lacks" if strange[0] in wanted else "has a tensor that the card does not name:"
        raise InputError(f"{found} {strange[0]!r}", path=folder / HEADS)
    backbone = load_tuned_backbone(folder, content, dtype=dtype, model=model, quantized=quantized)
    require_changeable(backbone.model)
    shape = tuple(output_embeddings(backbone.model).weight.shape)
    heads: dict[str, HeadChange] = {}
    for name in names:
        down, up = tensors[f"{name}.down"], tensors[f"{name}.up"]
        rank = len(down)
        if (tuple(down.shape), tuple(up.shape)) != ((rank, shape[1]), (shape[0], rank)):
            raise InputError(
                f"the head of {name!r} has the shapes {tuple(up.shape)} and {tuple(down.shape)}, which do "
                f"not match the model's {shape}",
                path=folder / HEADS,
            )
        head = filled(partial(HeadChange, rank, shape[1], shape[0]), {"down": down, "up": up})
        heads[name] = head.to(backbone.device).requires_grad_(False).eval()
    return HeadedModel(str(content["name"]), backbone, heads)


def _parts(head: HeadChange) -> dict[str, Tensor]:
    return {"down": head.down, "up": head.up}
