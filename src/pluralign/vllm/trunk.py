"""The model that vLLM loads: its files, and whether policies were trained on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import safetensors
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.folders.backbones import is_quantized_card, trained_dtype
from pluralign.lm.backbone import fingerprint_of, load_tokenizer
from pluralign.lm.pretrained import SMOLLM2, smollm2_folder
from pluralign.lm.tokenizer_digest import tokenizer_digest

_log = logging.getLogger(__name__)
# These readers have no complete types.
_HUB_CLIENT: Any = huggingface_hub
_CONFIG: Any = AutoConfig
_CAUSAL: Any = AutoModelForCausalLM
_safe_open: Any = safetensors.safe_open
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def model_files(model: str) -> str:
    """The folder or hub id under which vLLM finds a model."""
    return str(smollm2_folder()) if model == SMOLLM2 else str(model)


def dialogue_template() -> Path:
    """The file of the template "dialogue" in the form of vLLM's ``--chat-template``."""
    return Path(__file__).with_name("dialogue.jinja")


def fingerprint_of_files(folder: Path, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype) -> str | None:
    """The fingerprint of a model (`lm.backbone.Backbone`), from its files, one tensor in memory at a time.

    Args:
        folder: Folder of the model, with safetensors files.
        tokenizer: Its tokenizer.
        dtype: Floating-point type that the fingerprint is of.

    Returns:
        The fingerprint; None where the files name their tensors otherwise than the model does.
    """
    config: Any = _CONFIG.from_pretrained(folder)
    with torch.device("meta"):
        model: Any = _CAUSAL.from_config(config)
    places: dict[str, Path] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        with _safe_open(file, framework="pt") as tensors:
            places |= dict.fromkeys(tensors.keys(), file)
    names: list[str] = list(model.state_dict())
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    sources = {name: name if name in places else tied.get(name, "") for name in names}
    if not all(source in places for source in sources.values()):
        return None

    def items() -> Iterator[tuple[str, Tensor]]:
        for name in names:
            with _safe_open(places[sources[name]], framework="pt") as file:
                yield name, file.get_tensor(sources[name]).to(dtype)

    lazy: Any = SimpleNamespace(config=model.config, state_dict=lambda: SimpleNamespace(items=items))
    return fingerprint_of(lazy, tokenizer)


def require_trunk(model: str, cards: Mapping[Path, Mapping[str, Any] | None]) -> None:
    """Check that policies were trained on a model, which is not loaded; a warning says where that cannot be
    checked.

    Args:
        model: Hub id, local folder, or ``smollm2-135m``.
        cards: Card of each policy's folder; None for a folder without one.

    Raises:
        InputError: A policy was trained on another model.
    """
    known = {folder: card for folder, card in cards.items() if card is not None}
    if not known:
        return
    place = Path(model_files(model))
    place = (
        place if place.is_dir() else Path(_HUB_CLIENT.snapshot_download(str(model), allow_patterns=_FILES))
    )
    tokenizer = load_tokenizer(model)
    splits, found = tokenizer_digest(tokenizer), dict[torch.dtype, str | None]()
    for folder, card in known.items():
        dtype = trained_dtype(card)
        if dtype not in found:
            found[dtype] = fingerprint_of_files(place, tokenizer, dtype)
        if found[dtype] is None:
            _log.warning(
                "%s: not compared with the files of %s, which name their tensors otherwise", folder, model
            )
        elif found[dtype] != card["backbone"].get("fingerprint"):
            raise InputError(
                f"was trained on {card['backbone'].get('name')!r}, another model than {model!r} here",
                path=folder,
            )
        elif card["backbone"].get("tokenizer") not in (None, splits):
            raise InputError(
                f"was trained with a tokenizer that splits texts otherwise than that of {model!r}",
                path=folder,
            )
        if is_quantized_card(card):
            _log.warning("%s: trained on a trunk in 4 bits, used on the one that vLLM loads", folder)
