"""A trained policy on the disk: safetensors and a card. Nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pluralign.core import InputError
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.models.adapters import save_adapter
from pluralign.models.backbone import load_backbone
from pluralign.models.features import FeatureSource, FeatureStore
from pluralign.models.option_policy import OptionHead, OptionPolicy

KIND, VERSION = "option_policy", 1
CARD, HEAD, ADAPTER = "card.json", "head.safetensors", "adapter"


@dataclass(frozen=True)
class Card:
    """Where a policy comes from; ``card.json`` of its folder.

    Args:
        method: ``bc`` or ``cpl``.
        objective: the objective's name; empty for behaviour cloning.
        seed: of the training.
        config: the method's config.
        data: what it was trained on: files, digests, counts, ties.
        backbone: ``{"name", "fingerprint", "dtype"}`` of the trunk, without the adapter.
        figures: losses, training curve, seconds.
        versions: of pluralign and its main dependencies.
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
    """Versions of Python, pluralign and what the training rests on."""
    names = ("pluralign", "torch", "transformers", "peft", "accelerate")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in names}}


def save_policy(policy: OptionPolicy, folder: Path, card: Card, *, adapter: Any = None) -> None:
    """Write a policy to a folder.

    Each file appears whole or not at all; the card comes last and holds the digests of the others, so a
    save that was cut off is refused by `load_policy` and never read half.

    Args:
        policy: the policy.
        folder: made where it does not exist.
        card: its provenance.
        adapter: the PEFT model whose adapter belongs to the policy, if any.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file; a policy needs a folder", path=folder)
    tensors = {name: value.contiguous().cpu() for name, value in policy.head.state_dict().items()}
    with replace_when_whole(folder / HEAD) as temporary:
        save_file(tensors, temporary)
    if adapter is not None:
        save_adapter(adapter, folder / ADAPTER)
    content = {
        "pluralign": KIND,
        "version": VERSION,
        "name": policy.name,
        "head": {"dimension": policy.head.dimension, "hidden": policy.head.hidden},
        "files": {str(path.relative_to(folder)): _digest(path) for path in _weight_files(folder, adapter)},
        **dataclasses.asdict(card),
    }
    write_json(folder / CARD, content)


def load_card(folder: Path) -> Card:
    """The card of a policy's folder.

    Raises:
        InputError: no such folder, or it holds something else.
    """
    content = _read_card(Path(folder))
    return Card(**{f.name: content[f.name] for f in dataclasses.fields(Card)})


def load_policy(folder: Path, store: FeatureSource | None = None) -> OptionPolicy:
    """Read a policy from its folder.

    Args:
        folder: what `save_policy` wrote.
        store: where its features come from; None loads the backbone that the card names. A policy with an
            adapter of its own always loads its own.

    Raises:
        InputError: missing or truncated files, another kind of folder, or features from another
            backbone than the policy's.
    """
    folder = Path(folder)
    content = _read_card(folder)
    for name, digest in content["files"].items():
        if not (folder / name).is_file():
            raise InputError(f"the policy's file {name} is missing", path=folder)
        if _digest(folder / name) != digest:
            raise InputError("damaged: it does not have the digest that the card says", path=folder / name)
    try:
        head = OptionHead(int(content["head"]["dimension"]), int(content["head"]["hidden"]))
        head.load_state_dict(load_file(folder / HEAD))
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"does not hold this policy's head: {reason}", path=folder / HEAD) from error
    return OptionPolicy(str(content["name"]), head, _source_for(folder, content, store))


def _source_for(folder: Path, content: dict[str, Any], store: FeatureSource | None) -> FeatureSource:
    backbone: dict[str, Any] = content["backbone"]
    adapted = any(name.startswith(f"{ADAPTER}/") for name in content["files"])
    if store is None or adapted:
        dtype = getattr(torch, str(backbone.get("dtype", "")), None)
        if not isinstance(dtype, torch.dtype) or not isinstance(backbone.get("name"), str):
            raise InputError(
                "names no backbone that can be loaded; give a feature store",
                path=folder / CARD,
                field="backbone",
            )
        loaded = load_backbone(backbone["name"], dtype=dtype, adapter=folder / ADAPTER if adapted else None)
        if adapted:
            return FeatureStore(loaded)
        store = FeatureStore(loaded)
    if store.fingerprint != backbone.get("fingerprint"):
        raise InputError(
            f"was trained on the features of {backbone.get('name')!r} ({backbone.get('dtype')}, "
            f"{backbone.get('fingerprint')}); these features are of {store.fingerprint}",
            path=folder,
        )
    return store


def _read_card(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    if not (folder / CARD).is_file():
        raise InputError(f"holds no finished policy (no {CARD})", path=folder)
    content = read_json(folder / CARD)
    if not isinstance(content, dict) or content.get("pluralign") != KIND:
        found = content.get("pluralign") if isinstance(content, dict) else type(content).__name__
        raise InputError(f"expected the card of an {KIND}, found {found!r}", path=folder / CARD)
    if content.get("version") != VERSION:
        raise InputError(f"expected version {VERSION}, found {content.get('version')!r}", path=folder / CARD)
    kinds: dict[str, type] = {"name": str, "head": dict, "files": dict}
    kinds |= {"method": str, "objective": str, "seed": int}
    kinds |= dict.fromkeys(("config", "data", "backbone", "figures", "versions"), dict)
    for name, kind in kinds.items():
        if not isinstance(content.get(name), kind):
            raise InputError(
                f"expected {kind.__name__}, found {content.get(name)!r:.60}", path=folder / CARD, field=name
            )
    if HEAD not in content["files"]:
        raise InputError(f"does not list {HEAD}", path=folder / CARD, field="files")
    for name in content["files"]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"names a file outside the folder: {name!r}", path=folder / CARD, field="files")
    return content


def _weight_files(folder: Path, adapter: Any) -> list[Path]:
    files = [folder / HEAD]
    return files if adapter is None else [*files, *sorted((folder / ADAPTER).glob("adapter_*"))]


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
