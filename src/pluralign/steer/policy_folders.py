"""Loading of policy folders as rows of one decoder: adapters on one trunk if possible, else whole models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.folders.backbones import same_model
from pluralign.folders.card import ADAPTER, CARD
from pluralign.folders.tuned import load_language_policy, read_policy_folder
from pluralign.lm.backbone import Backbone, load_backbone, make_backbone
from pluralign.steer.policy_rows import AdapterRows, ModelRows, PolicyRows


def open_rows(
    model: str, policies: Mapping[str, Path], cards: Mapping[str, Mapping[str, Any] | None],
    dtype: torch.dtype,
) -> PolicyRows:  # fmt: skip
    """Load policies so that they can be decoded together.

    Args:
        model: Base model of the policies: a hub id, local folder or built-in name.
        policies: Folder of each policy, by objective; ``model`` again for the base model itself.
        cards: Card of each policy (`policy_card`).
        dtype: Floating-point type of the weights.

    Raises:
        InputError: A folder holds no policy, or one of another model.
    """
    adapters = {name: _adapter(folder, cards[name], model) for name, folder in policies.items()}
    if not all(known for known, _ in adapters.values()):
        return ModelRows({name: open_whole(folder, model, dtype) for name, folder in policies.items()})
    trunk = load_backbone(model, dtype=torch.float32)
    for name, card in cards.items():
        _require_trunk(policies[name], card, trunk)
    return AdapterRows(_cast(trunk, dtype), {name: folder for name, (_, folder) in adapters.items()})


def policy_card(folder: Path) -> Mapping[str, Any] | None:
    """Card of a policy's folder, after checking its files; None if the folder has no card.

    Raises:
        InputError: The folder does not hold a language policy, or is damaged.
    """
    if not (folder / CARD).is_file():
        return None
    return read_policy_folder(folder)


def template_of(cards: Mapping[str, Mapping[str, Any] | None]) -> str:
    """Name of the template that the policies were trained with; the model's own if no card names one.

    Raises:
        InputError: The policies were trained with different templates.
    """
    found = {name: str(card.get("template", "dialogue")) for name, card in cards.items() if card is not None}
    if len(set(found.values())) > 1:
        raise InputError(
            f"the policies were trained with different templates ({found}); name one of them",
            field="template",
        )
    return next(iter(found.values()), "chat")


def _adapter(folder: Path, card: Mapping[str, Any] | None, model: str) -> tuple[bool, Path | None]:
    """Whether a policy is an adapter or the model itself, and the adapter's folder if it is one."""
    if card is not None:
        adapted = any(file.startswith(f"{ADAPTER}/") for file in card["files"])
        return adapted, folder / ADAPTER if adapted else None
    if same_model(str(folder), model):
        return True, None
    if (folder / "adapter_config.json").is_file():
        return True, folder
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    return False, None


def _require_trunk(folder: Path, card: Mapping[str, Any] | None, trunk: Backbone) -> None:
    if card is not None and card["backbone"].get("fingerprint") != trunk.fingerprint:
        raise InputError(
            f"was trained on {card['backbone'].get('name')!r}, another model than {trunk.name!r} here",
            path=folder,
        )


def open_whole(folder: Path, model: str, dtype: torch.dtype) -> Backbone:
    """Load a policy as a whole model, its adapter merged.

    Args:
        folder: Folder of a trained policy, of a PEFT adapter, or of a model.
        model: Base model of an adapter.
        dtype: Floating-point type of the weights.

    Raises:
        InputError: The policy cannot be loaded.
    """
    if (folder / CARD).is_file():
        try:
            return _merged(load_language_policy(folder, dtype=dtype))
        except InputError as error:
            if error.field != "model":
                raise
            return _merged(load_language_policy(folder, dtype=dtype, model=model))
    if (folder / "adapter_config.json").is_file():
        return _merged(load_backbone(model, dtype=dtype, adapter=folder))
    return load_backbone(str(folder), dtype=dtype)


def _merged(backbone: Backbone) -> Backbone:
    model: Any = backbone.model
    if not hasattr(model, "merge_and_unload"):
        return backbone
    return make_backbone(model.merge_and_unload(), backbone.tokenizer, backbone.name)


def _cast(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    if backbone.dtype == dtype:
        return backbone
    model: Any = backbone.model
    return make_backbone(model.to(dtype), backbone.tokenizer, backbone.name)
