"""Base models of folders: their recorded locations, so that a folder can be moved together with its model,
and their loading."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.lm.backbone import TINY_RANDOM, Backbone, load_backbone
from pluralign.lm.pretrained import SMOLLM2

BUILT_IN = (SMOLLM2, TINY_RANDOM)
"""Names of built-in models, which come with a package or are made in code."""
_NAME_IT = "name the right one with the argument model (--base on the command line)"


def with_places(described: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A backbone's description with the location of its local folder: ``path``, absolute, and ``relative``,
    relative to the folder of the trained model. Hub ids and built-in models are unchanged.

    Args:
        described: Description, ``{"name", "fingerprint", "dtype"}``.
        folder: Folder that the card is written to.
    """
    name = described.get("name")
    if not isinstance(name, str) or not is_local(name):
        return dict(described)
    path = Path(name).resolve()
    return {**described, "path": str(path), "relative": os.path.relpath(path, folder.resolve())}


def is_local(name: str) -> bool:
    """Whether a model's name is that of an existing folder."""
    return name not in BUILT_IN and Path(name).is_dir()


def same_model(one: str, other: str) -> bool:
    """Whether two names refer to the same model: they are equal, or paths of the same folder."""
    return one == other or (is_local(one) and is_local(other) and Path(one).samefile(other))


def model_places(folder: Path, content: Mapping[str, Any]) -> list[str]:
    """Names under which a folder's model can be loaded, the most likely first.

    A local model is looked up at its path relative to the folder, at its absolute path, at its name relative
    to the working directory, and (for cards of 0.1.0, which only have the name) at its name relative to each
    parent of the folder.

    Args:
        folder: Folder with the card.
        content: Its card.

    Raises:
        InputError: The card has no model, or a local one that is at none of these locations.
    """
    described: Mapping[str, Any] = content["backbone"]
    name = described.get("name")
    if not isinstance(name, str):
        raise InputError("has no backbone", path=folder, field="backbone")
    if name in BUILT_IN:
        return [name]
    root = folder.resolve()
    listed = [root / str(described["relative"])] if "relative" in described else []
    listed += [Path(str(described["path"]))] if "path" in described else []
    listed += [Path(name), *(parent / name for parent in root.parents)]
    places = list(dict.fromkeys(str(place.resolve()) for place in listed if place.is_dir()))
    if "path" not in described and not Path(name).is_absolute() and not name.startswith("."):
        places.append(name)  # it may be a hub id
    if not places:
        missing = described.get("path", name)
        raise InputError(
            f"was trained on the model {missing}, which is not there; {_NAME_IT}", path=folder, field="model"
        )
    return places


def load_folder_backbone(
    folder: Path, content: Mapping[str, Any], *, dtype: torch.dtype = torch.float32, model: str | None = None
) -> Backbone:
    """Load the model that a folder was trained on, as it was before training.

    Args:
        folder: Folder with the card.
        content: Its card.
        dtype: Precision with which its fingerprint was computed.
        model: Hub id or folder of the base model, if it was moved.

    Raises:
        InputError: The model does not exist, or a different one is at its location.
    """
    expected, name = content["backbone"].get("fingerprint"), content["backbone"].get("name")
    reason = ""
    for place in [model] if model is not None else model_places(folder, content):
        try:
            found = load_backbone(place, dtype=dtype)
        except InputError as error:
            reason = reason or f"the model {name!r} that it was trained on cannot be loaded ({error})"
            continue
        if found.fingerprint == expected:
            return found
        reason = f"was trained on a different {name!r} ({expected}) than this one ({found.fingerprint})"
    raise InputError(f"{reason}; {_NAME_IT}", path=folder, field="model")
