"""Backbones with their trained changes: an adapter, or some or all weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.folders.backbones import load_folder_backbone
from pluralign.folders.card import ADAPTER, TRUNK, read_card, read_folder
from pluralign.folders.tensors import read_tensors
from pluralign.lm.adapters import adapted_model, stays_apart
from pluralign.lm.backbone import Backbone, make_backbone
from pluralign.lm.precision import in_dtype

POLICY_KINDS = ("language_policy", "reward_model")


def describe_backbone(backbone: Backbone) -> dict[str, Any]:
    """Description of the trunk before training, for cards."""
    dtype = str(backbone.dtype).removeprefix("torch.")
    described = {
        "name": backbone.name,
        "fingerprint": backbone.source or backbone.fingerprint,
        "dtype": dtype,
    }
    return {**described, "load_in": "4bit"} if backbone.source else described


def learned_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """The trainable weights, by their names in the model."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def load_tuned_backbone(
    folder: Path, content: Mapping[str, Any], *, dtype: torch.dtype | None = None, model: str | None = None,
    quantized: bool = True,
) -> Backbone:  # fmt: skip
    """Backbone of a folder, with its adapter or its trained weights.

    Args:
        folder: Folder written by `write_folder`.
        content: Its card.
        dtype: Floating-point type of the weights; float32 by default.
        model: Hub id or folder of the base model, if it was moved.
        quantized: Whether a trunk that was in 4 bits during training is loaded in 4 bits.

    Raises:
        InputError: The backbone cannot be loaded, is not the one that was trained, or does not match the
            folder's weights.
    """
    dtype, load = dtype or torch.float32, partial(load_folder_backbone, folder, content, model=model)
    name = str(content["name"])
    if not any(file.startswith(f"{ADAPTER}/") for file in content["files"]):
        backbone = load(dtype=dtype, quantized=quantized)
        if TRUNK in content["files"]:
            _overlay(backbone.model, read_tensors(folder / TRUNK), folder / TRUNK)
        return make_backbone(backbone.model, backbone.tokenizer, name, backbone.source)
    backbone = load(dtype=dtype, quantized=quantized)
    if dtype != torch.float32 and not stays_apart(backbone.model, folder / ADAPTER):
        # What is merged is merged in full precision.
        backbone = load(dtype=torch.float32, quantized=quantized)
    adapted = in_dtype(adapted_model(backbone.model, folder / ADAPTER), dtype)
    return make_backbone(adapted, backbone.tokenizer, name, backbone.source)


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


def _overlay(model: PreTrainedModel, tensors: dict[str, Tensor], path: Path) -> None:
    network: Any = model
    try:
        unknown: list[str] = network.load_state_dict(tensors, strict=False).unexpected_keys
    except RuntimeError as error:
        raise InputError(f"does not match the backbone: {str(error).splitlines()[-1]}", path=path) from error
    if unknown:
        raise InputError(f"contains weights that the backbone does not have: {unknown[0]}", path=path)
