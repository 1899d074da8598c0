"""Folders of trained models: safetensors files and a card. Nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pluralign.core import InputError
from pluralign.core.digests import digest, sampled_digest, sha256, source_digest
from pluralign.core.files import read_json, write_json
from pluralign.core.jsonl import is_object
from pluralign.folders.backbones import load_folder_backbone, with_places
from pluralign.folders.tensors import write_tensors
from pluralign.lm.adapter_check import CONFIG, TENSORS
from pluralign.lm.adapters import save_adapter

VERSION = 1
CARD, HEAD, TRUNK, ADAPTER = "card.json", "head.safetensors", "trunk.safetensors", "adapter"
_MODEL_FILES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")
Q_NETWORK = "q_network.safetensors"
KINDS = {
    "option_policy": "a policy over listed options",
    "option_q_values": "Q-values of listed options",
    "option_values": "values of listed options for several objectives",
    "option_reward": "a posterior over rewards of listed options",
    "reward_model": "a reward model",
    "reward_ensemble": "an ensemble of rewards",
    "value_model": "a value model",
    "language_policy": "a language policy",
    "prompt_weights": "a model that suggests weights",
    "objective_heads": "heads of several objectives on one model",
}
"""Descriptions of kinds of folders, by the kind in their card."""


@dataclass(frozen=True)
class Card:
    """Provenance of a trained model; ``card.json`` of its folder.

    Args:
        method: Training method: ``cpl``, ``bradley-terry``, ...
        objective: Name of the objective; empty if there is none.
        seed: Random seed of the training.
        config: Settings of the method.
        data: Training data: files, digests, counts, ties.
        backbone: ``{"name", "fingerprint", "dtype"}`` of the trunk before training; of a local
            model, the folder's card also has its paths (`folders.backbones.with_places`).
        figures: Losses, training curve, accuracies, seconds.
        versions: Versions of pluralign and its main dependencies.
    """

    method: str
    objective: str = ""
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    backbone: Mapping[str, Any] = field(default_factory=dict[str, Any])
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])


def current_versions() -> dict[str, str]:
    """Versions of Python, pluralign and the main dependencies of training."""
    names = ("pluralign", "torch", "transformers", "peft", "accelerate")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


# Looking one up reads the folders of all packages.
_version = functools.cache(importlib.metadata.version)


def write_folder(
    folder: Path,
    kind: str,
    card: Card,
    content: Mapping[str, Any],
    tensors: Mapping[str, Mapping[str, Tensor]],
    adapter: Any = None,
) -> None:
    """Write the folder of a trained model.

    Each file is written completely or not at all. The card comes last and contains the digests of the others,
    so `read_folder` refuses a folder whose writing was interrupted.

    Args:
        folder: Output folder; created if necessary.
        kind: One of `KINDS`.
        card: Card of the model.
        content: Further fields of the card: ``name`` and the fields that `read_folder`'s caller needs.
        tensors: Tensors by file name.
        adapter: PEFT model with the model's adapter, if it has one.

    Raises:
        InputError: The folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"is a file; {KINDS[kind]} needs a folder", path=folder)
    for name, values in tensors.items():
        write_tensors(folder / name, values)
    files = [folder / name for name in tensors]
    if adapter is not None:
        save_adapter(adapter, folder / ADAPTER)
        files += sorted((folder / ADAPTER).glob("adapter_*"))
    whole = {
        "pluralign": kind,
        "version": VERSION,
        **content,
        "files": {str(path.relative_to(folder)): sha256(path) for path in files},
        **dataclasses.asdict(card),
        "backbone": with_places(card.backbone, folder),
    }
    write_json(folder / CARD, whole)


def load_card(folder: Path, kind: str | None = None) -> Card:
    """The card of a folder.

    Raises:
        InputError: The folder does not exist, or holds another kind of model.
    """
    content = read_card(Path(folder), kind)
    return Card(**{f.name: content[f.name] for f in dataclasses.fields(Card)})


def read_card(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """All fields of the card, validated.

    Args:
        folder: Folder written by `write_folder`.
        kind: Expected kind; None accepts any.

    Raises:
        InputError: The folder does not exist, has no finished training, or is of another kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    if not (folder / CARD).is_file():
        raise InputError(f"holds no finished training (no {CARD})", path=folder)
    content = read_json(folder / CARD)
    if is_object(content) and "pluralign" not in content and content.get("method") == "drrn":
        content = _drrn_card_of_0_1(folder, content)
    found = content.get("pluralign") if is_object(content) else None
    if not is_object(content) or found not in KINDS:
        raise InputError(f"expected a card of pluralign, found {found!r}", path=folder / CARD)
    if kind is not None and found != kind:
        raise InputError(
            f"holds {KINDS[found]} (method {content.get('method')!r}); expected {KINDS[kind]}", path=folder
        )
    if content.get("version") != VERSION:
        raise InputError(f"expected version {VERSION}, found {content.get('version')!r}", path=folder / CARD)
    kinds: dict[str, type] = {"name": str, "files": dict, "method": str, "objective": str, "seed": int}
    kinds |= dict.fromkeys(("config", "data", "backbone", "figures", "versions"), dict)
    for name, type_ in kinds.items():
        if not isinstance(content.get(name), type_):
            raise InputError(
                f"expected {type_.__name__}, found {content.get(name)!r:.60}", path=folder / CARD, field=name
            )
    for name in content["files"]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"names a file outside the folder: {name!r}", path=folder / CARD, field="files")
    return content


def content_digest(folder: Path) -> dict[str, str]:
    """Digest that changes with a folder's content: that of its card, which contains the digests of the other
    files, of its adapter, or of its model; of a hub id or a built-in model, its name alone."""
    if (folder / CARD).is_file():
        return source_digest(folder / CARD)
    adapter = [path for path in (folder / TENSORS, folder / CONFIG) if path.is_file()]
    if files := adapter if folder / TENSORS in adapter else model_files(folder):
        parts = (f"{path.name} {sampled_digest(path)}\n".encode() for path in files)
        return {"file": str(folder), "file_digest": digest(parts)}
    return {"file": str(folder)}


def model_files(folder: Path) -> list[Path]:
    """Files that a folder's model is loaded from: its weights, its configuration and its tokenizer; none of a
    name that is not a folder's."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else ()
    return [path for path in entries if path.suffix in _MODEL_FILES and path.is_file()]


def read_folder(folder: Path, kind: str, needed: str) -> dict[str, Any]:
    """The card's content, after checking the digest of every file of the folder.

    Args:
        folder: Folder written by `write_folder`.
        kind: Expected kind.
        needed: File that the card must list; empty for none.

    Raises:
        InputError: See `read_card`; or a file is missing or damaged.
    """
    folder = Path(folder)
    content = read_card(folder, kind)
    if needed and needed not in content["files"]:
        raise InputError(f"does not list {needed}", path=folder / CARD, field="files")
    for name, expected in content["files"].items():
        if not (folder / name).is_file():
            raise InputError(f"its file {name} is missing", path=folder)
        if sha256(folder / name) != expected:
            raise InputError("is damaged: its digest differs from the one on the card", path=folder / name)
    return content


def locate_model(folder: Path, model: str) -> str:
    """Record the location of the model that a folder was trained on, after it was moved.

    Args:
        folder: Folder written by `write_folder`.
        model: Hub id or folder of the model now.

    Returns:
        The name of the model that was recorded before.

    Raises:
        InputError: See `read_card` and `backbones.load_folder_backbone`; the folder is unchanged then.
    """
    folder = Path(folder)
    content = read_card(folder)
    described: Mapping[str, Any] = content["backbone"]
    if "name" not in described:
        raise InputError("has no base model of its own", path=folder)
    dtype = getattr(torch, str(described.get("dtype", "float32")).removeprefix("torch."), torch.float32)
    load_folder_backbone(folder, content, dtype=dtype, model=model)
    kept = {name: value for name, value in described.items() if name not in ("path", "relative")}
    write_json(folder / CARD, {**content, "backbone": with_places({**kept, "name": model}, folder)})
    return str(described["name"])


def _drrn_card_of_0_1(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """A DRRN card of version 0.1.0, converted to the current form; it had no digests."""
    features = content.get("features")
    fingerprint = features.get("fingerprint") if is_object(features) else None
    files = [path for path in (folder / Q_NETWORK,) if path.is_file()]
    return {
        **dataclasses.asdict(Card("drrn")),
        **{
            name: content[name]
            for name in ("name", "temperature", "seed", "config", "figures")
            if name in content
        },
        "pluralign": "option_q_values",
        "version": VERSION,
        "files": {path.name: sha256(path) for path in files},
        "backbone": {"fingerprint": fingerprint},
    }
