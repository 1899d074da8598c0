"""Folders of trained option policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.folders.backbones import load_folder_backbone
from pluralign.folders.card import (
    ADAPTER,
    CARD,
    HEAD,
    Card,
    load_card,
    read_folder,
    write_folder,
)
from pluralign.folders.tensors import filled, read_tensors
from pluralign.lm.backbone import load_backbone
from pluralign.options.features import FeatureSource, FeatureStore
from pluralign.options.option_policy import OptionHead, OptionPolicy

__all__ = ["KIND", "Card", "describe_source", "feature_source", "load_card", "load_policy", "save_policy"]

KIND = "option_policy"


def save_policy(policy: OptionPolicy, folder: Path, card: Card, *, adapter: Any = None) -> None:
    """Write a policy to a folder, completely or not at all (`write_folder`).

    Args:
        policy: The policy.
        folder: Output folder; created if necessary.
        card: Card of the policy.
        adapter: PEFT model with the policy's adapter, if it has one.

    Raises:
        InputError: The folder cannot be written.
    """
    content = {
        "name": policy.name,
        "head": {"dimension": policy.head.dimension, "hidden": policy.head.hidden},
    }
    write_folder(folder, KIND, card, content, {HEAD: policy.head.state_dict()}, adapter)


def load_policy(folder: Path, store: FeatureSource | None = None) -> OptionPolicy:
    """Load a policy from its folder.

    Args:
        folder: Folder written by `save_policy`.
        store: Source of features; None loads the backbone named on the card. A policy with an adapter always
            loads its own backbone.

    Raises:
        InputError: Files are missing or truncated, the folder holds another kind of model, or the features
            are from a different backbone.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    try:
        shape = int(content["head"]["dimension"]), int(content["head"]["hidden"])
        head = filled(lambda: OptionHead(*shape), read_tensors(folder / HEAD))
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"does not contain this policy's head: {reason}", path=folder / HEAD) from error
    return OptionPolicy(str(content["name"]), head, feature_source(folder, content, store))


def describe_source(source: FeatureSource) -> dict[str, Any]:
    """Description of the trunk of a feature source, for cards.

    Raises:
        InputError: This is no source of features.
    """
    if not isinstance(source, FeatureSource):
        raise InputError(
            f"expected features, such as Models(MODEL).store, found {source!r:.60}", field="store"
        )
    described: dict[str, Any] = {"fingerprint": source.fingerprint}
    if isinstance(source, FeatureStore):
        described |= {
            "name": source.backbone.name,
            "dtype": str(source.backbone.dtype).removeprefix("torch."),
            "tokenizer": source.backbone.tokenizer_digest,
        }
    return described


def feature_source(folder: Path, content: dict[str, Any], store: FeatureSource | None) -> FeatureSource:
    """Features that the model in a folder was trained on.

    Args:
        folder: Folder written by `write_folder`.
        content: Its card.
        store: Feature source of the caller; None loads the backbone named on the card, as does an adapter.

    Raises:
        InputError: The card names no backbone, or the given features are from a different one.
    """
    backbone: dict[str, Any] = content["backbone"]
    adapted = any(name.startswith(f"{ADAPTER}/") for name in content["files"])
    if store is None or adapted:
        dtype = getattr(torch, str(backbone.get("dtype", "")), None)
        if not isinstance(dtype, torch.dtype) or not isinstance(backbone.get("name"), str):
            raise InputError(
                "has no backbone that can be loaded; give a feature store",
                path=folder / CARD,
                field="backbone",
            )
        loaded = load_folder_backbone(folder, content, dtype=dtype)
        if adapted:
            name = loaded.name
            del loaded  # its memory, for the model with the adapter
            return FeatureStore(load_backbone(name, dtype=dtype, adapter=folder / ADAPTER))
        store = FeatureStore(loaded)
    if store.fingerprint != backbone.get("fingerprint"):
        raise InputError(
            f"was trained on the features of {backbone.get('name')!r} ({backbone.get('dtype')}, "
            f"{backbone.get('fingerprint')}); the given features are from {store.fingerprint}",
            path=folder,
        )
    if isinstance(store, FeatureStore) and not store.backbone.splits_as(backbone):
        raise InputError(
            f"was trained on the features of {backbone.get('name')!r} with a tokenizer that splits texts "
            "otherwise",
            path=folder,
        )
    return store
