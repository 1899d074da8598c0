"""Base models of folders: their recorded locations, so that a folder can be moved together with its model,
and their loading."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.lm.backbone import (
    TINY_RANDOM,
    Backbone,
    computing_in,
    fingerprint_of,
    load_backbone,
    quantized_backbone,
)
from pluralign.lm.pretrained import SMOLLM2, stored_dtype

_log = logging.getLogger(__name__)

BUILT_IN = (SMOLLM2, TINY_RANDOM)
"""Names of built-in models, which come with a package or are made in code."""
_NAME_IT = (
    "name the right one (the argument model, or --base in generate, score, export and evaluate reward), or "
    "record its location: pluralign models locate FOLDER MODEL"
)


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
    folder: Path, content: Mapping[str, Any], *, dtype: torch.dtype | None = None, model: str | None = None,
    quantized: bool = True,
) -> Backbone:  # fmt: skip
    """Load the model that a folder was trained on, as it was before training.

    Args:
        folder: Folder with the card.
        content: Its card.
        dtype: Floating-point type of the weights; float32 by default.
        model: Hub id or folder of the base model, if it was moved.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits; see `load_trained`.

    Raises:
        InputError: The model does not exist, or a different one is at its location.
    """
    expected, name = content["backbone"].get("fingerprint"), content["backbone"].get("name")
    reason = ""
    for place in [model] if model is not None else model_places(folder, content):
        try:
            found = load_trained(place, content, dtype=dtype, quantized=quantized)
        except InputError as error:
            reason = reason or f"the model {name!r} that it was trained on cannot be loaded ({error})"
            continue
        if isinstance(found, Backbone):
            return found
        reason = f"was trained on a different {name!r} ({expected}) than this one ({found})"
    raise InputError(f"{reason}; {_NAME_IT}", path=folder, field="model")


def load_trained(
    place: str, content: Mapping[str, Any], *, dtype: torch.dtype | None = None, quantized: bool = True
) -> Backbone | str:
    """The model at a place if it is the one that a folder was trained on, else what it is.

    The fingerprint is that of the weights in the floating-point type of the training, before they were
    quantised. A model is read straight into the requested type where its files hold that type; else it is
    read in the type of the training and converted afterwards.

    Args:
        place: Hub id, folder or built-in name.
        content: Card of the folder.
        dtype: Floating-point type of the weights; float32 by default.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits. A warning says that
            it is not, which is also so without bitsandbytes.

    Raises:
        InputError: There is no model at the place.
    """
    found = _load_weights(place, content, dtype or torch.float32, quantized)
    if isinstance(found, Backbone) and not found.splits_as(content["backbone"]):
        return "its tokenizer splits texts otherwise"
    return found


def _load_weights(
    place: str, content: Mapping[str, Any], dtype: torch.dtype, quantized: bool
) -> Backbone | str:
    """The model at a place if its weights and its vocabulary are right, else its fingerprint."""
    expected, recorded = content["backbone"].get("fingerprint"), trained_dtype(content)
    if is_quantized_card(content):
        if quantized and find_spec("bitsandbytes") is not None:
            # On the CPU, from where the layers in 4 bits go to the device one by one.
            whole = load_backbone(place, dtype=recorded, device=torch.device("cpu"))
            if whole.fingerprint != expected:
                return whole.fingerprint
            return computing_in(quantized_backbone(whole), dtype)
        why = "for 4 bits, install bitsandbytes" if quantized else "as requested"
        _log.warning(
            "%s: trained on a trunk in 4 bits, used on the unquantised one (%s)", content["name"], why
        )
    if dtype != recorded and place != TINY_RANDOM and stored_dtype(place) == dtype:
        found = load_backbone(place, dtype=dtype)
        if fingerprint_of(found.model, found.tokenizer, recorded) == expected:
            return found
    found = load_backbone(place, dtype=recorded)
    return computing_in(found, dtype) if found.fingerprint == expected else found.fingerprint


def trained_dtype(content: Mapping[str, Any]) -> torch.dtype:
    """Floating-point type of the model that a folder was trained on."""
    found = getattr(torch, str(content["backbone"].get("dtype")), None)
    return found if isinstance(found, torch.dtype) else torch.float32


def is_quantized_card(content: Mapping[str, Any]) -> bool:
    """Whether a folder was trained on a trunk in 4 bits.

    Raises:
        InputError: It was trained in another format, which is not known here.
    """
    found = content["backbone"].get("load_in")
    if found not in (None, "4bit"):
        raise InputError(f"was trained on a trunk in an unknown format, {found!r}", field="load_in")
    return found is not None
