"""Backbones with their trained changes: an adapter, or some or all weights."""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.jsonl import is_object
from pluralign.folders.backbones import load_folder_backbone
from pluralign.folders.card import ADAPTER, TRUNK, read_card, read_folder
from pluralign.folders.tensors import read_tensors
from pluralign.lm.adapters import adapted_model, stays_apart
from pluralign.lm.backbone import Backbone, make_backbone
from pluralign.lm.precision import in_dtype

POLICY_KINDS = ("language_policy", "reward_model")
Bases = dict[Any, Backbone]
"""Base models that are loaded already, by their identity."""


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """Description of the trunk before training, for cards."""
    dtype = str(backbone.dtype).removeprefix("torch.")
    described = {
        "name": backbone.name,
        "fingerprint": backbone.source or backbone.fingerprint,
        "dtype": dtype,
        "tokenizer": backbone.tokenizer_digest,
    }
    return {**described, "load_in": "4bit"} if backbone.source else described


def learned_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The trainable weights, by their names in the model."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def load_tuned_backbone(
    folder: Path, content: Mapping[str, Any], *, dtype: torch.dtype | None = None, model: str | None = None,
    quantized: bool = True, bases: Bases | None = None,
) -> Backbone:  # fmt: skip
    """Backbone of a folder, with its adapter or its trained weights.

    Args:
        folder: Folder written by `write_folder`.
        content: Its card.
        dtype: Floating-point type of the weights; float32 by default.
        model: Hub id or folder of the base model, if it was moved.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits.
        bases: Base models, from which the backbone takes all weights that were not trained, so that they are
            in memory once; a missing one is added. Only trunks that were trained above some layer use them
            (`trained_above`); by default the backbone has weights of its own.

    Raises:
        InputError: The backbone cannot be loaded, is not the one that was trained, or does not match the
            folder's weights.
    """
    dtype, load = dtype or torch.float32, partial(load_folder_backbone, folder, content, model=model)
    name = str(content["name"])
    if not any(file.startswith(f"{ADAPTER}/") for file in content["files"]):
        tensors = read_tensors(folder / TRUNK) if TRUNK in content["files"] else {}
        if bases is None or not trained_above(content):
            backbone = load(dtype=dtype, quantized=quantized)
            network = backbone.model
        else:
            backbone = load_base(folder, content, bases, dtype=dtype, model=model, quantized=quantized)
            network = _copy_of(backbone.model, tensors) if tensors else backbone.model
        _overlay(network, tensors, folder / TRUNK)
        return make_backbone(network, backbone.tokenizer, name, backbone.source)
    backbone = load(dtype=dtype, quantized=quantized)
    if dtype != torch.float32 and not stays_apart(backbone.model, folder / ADAPTER):
        # What is merged is merged in full precision.
        backbone = load(dtype=torch.float32, quantized=quantized)
    adapted = in_dtype(adapted_model(backbone.model, folder / ADAPTER), dtype)
    return make_backbone(adapted, backbone.tokenizer, name, backbone.source)


def load_base(
    folder: Path, content: Mapping[str, Any], bases: Bases, *, dtype: torch.dtype, model: str | None = None,
    quantized: bool = True,
) -> Backbone:  # fmt: skip
    """The model that a folder was trained on, as it was before training, from those that are loaded already.

    Args:
        folder: Folder with the card.
        content: Its card.
        bases: Base models; a missing one is loaded and added. They are shared, and not to be changed.
        dtype: See `load_tuned_backbone`.
        model: See `load_tuned_backbone`.
        quantized: See `load_tuned_backbone`.

    Raises:
        InputError: See `load_folder_backbone`.
    """
    key = (base_key(content), dtype, model, quantized)
    if key not in bases:
        bases[key] = load_folder_backbone(folder, content, dtype=dtype, model=model, quantized=quantized)
    return bases[key]


def base_key(content: Mapping[str, Any]) -> tuple[Any, ...]:
    """Identity of the base model of a folder with this card."""
    described: Mapping[str, Any] = content["backbone"]
    return tuple(described.get(name) for name in ("fingerprint", "dtype", "load_in", "tokenizer"))


def trained_above(content: Mapping[str, Any]) -> bool:
    """Whether only the uppermost layers of a folder's trunk were trained, or none, by its card."""
    config = content.get("config")
    training = config.get("training") if is_object(config) else None
    adapted = any(file.startswith(f"{ADAPTER}/") for file in content["files"])
    return not adapted and is_object(training) and isinstance(training.get("layers"), int)


def load_language_policy(
    folder: Path, *, dtype: torch.dtype | None = None, model: str | None = None, quantized: bool = True
) -> Backbone:
    """Language model trained by SFT, DPO, AVA or another method, for generation and scoring.

    Args:
        folder: Folder of a language policy, or of an AVA reward model whose Q-values are the language model's
            own.
        dtype: Floating-point type of the weights; float32 by default.
        model: Hub id or folder of the base model, if it was moved.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits.

    Raises:
        InputError: The folder holds no policy; or see `load_tuned_backbone`.
    """
    content = read_policy_folder(folder)
    return load_tuned_backbone(Path(folder), content, dtype=dtype, model=model, quantized=quantized)


def read_policy_folder(folder: Path) -> dict[str, Any]:
    """Card of a language policy, after checking every file of its folder.

    Args:
        folder: Folder of a language policy, or of an AVA reward model with the model's own Q-values.

    Raises:
        InputError: The folder holds no policy, or a file is missing or damaged.
    """
    kind = read_card(folder)["pluralign"]
    if kind not in POLICY_KINDS:
        read_card(folder, "language_policy")
    content = read_folder(folder, kind, "")
    if not content.get("policy"):
        raise InputError(
            f"its method, {content['method']!r}, trains a reward model and no language policy", path=folder
        )
    return content


def _copy_of(model: PreTrainedModel, own: Container[str]) -> PreTrainedModel:
    """A copy of a model with its own weights of these names, and the model's for all others."""
    weights: dict[int, list[str]] = {}
    kept: dict[int, Any] = {}
    for name, one in [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]:
        weights.setdefault(id(one), []).append(name)
        kept[id(one)] = one
    # What is in the memo of a copy is not copied. Tied weights have several names.
    memo = {key: kept[key] for key, names in weights.items() if not any(name in own for name in names)}
    return copy.deepcopy(model, memo)


def _overlay(model: PreTrainedModel, tensors: dict[str, Tensor], path: Path) -> None:
    network: Any = model
    try:
        unknown: list[str] = network.load_state_dict(tensors, strict=False).unexpected_keys
    except RuntimeError as error:
        raise InputError(f"does not match the backbone: {str(error).splitlines()[-1]}", path=path) from error
    if unknown:
        raise InputError(f"contains weights that the backbone does not have: {unknown[0]}", path=path)
