"""Whether an adapter was trained on the model at hand: samples of weights of the model that it names."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.lm.adapter_check import Adapter

_log = logging.getLogger(__name__)
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_COMPARED = 4
"""Number of tensors that are compared."""
_ROWS = 16
"""Number of rows that are compared of each tensor."""
_ROUNDING = 2.0**-7
"""Mean difference, as a share of the mean weight, that rounding to bfloat16 explains."""


def require_base(adapter: Adapter, model: PreTrainedModel) -> None:
    """Refuse an adapter that names another model as its base, where that model is on this machine.

    Names alone prove nothing, because folders move and hubs have copies. Where the named model cannot be
    compared and both names are hub ids, a difference is only a warning.

    Raises:
        InputError: The weights of the model that it names are not this model's.
    """
    base, here = adapter.base, str(getattr(model.config, "_name_or_path", "") or "")
    if not base or base == here:
        return
    samples = list(_samples(base, model))
    if any(not _agree(*sample) for sample in samples):
        raise adapter.of_another_model(
            f"the weights of {base!r} are others; if the adapter fits this model all the same, change "
            "base_model_name_or_path in its adapter_config.json"
        )
    if not samples and _is_hub_id(base) and _is_hub_id(here) and base.lower() != here.lower():
        _log.warning("%s: was trained on %r; here it is used on %r", adapter.folder, base, here)


def _samples(base: str, model: PreTrainedModel) -> Iterator[tuple[Tensor, Tensor]]:
    """The first rows of some of the named model's tensors, and of the same tensors of the model at hand."""
    # Weights in 4 bits are not floating-point numbers.
    own = {
        name: value
        for name, value in model.state_dict().items()
        if value.ndim == 2 and value.is_floating_point()
    }
    files = _files(base)
    shared = sorted(set(own) & set(files))
    for name in shared[:: max(1, len(shared) // _COMPARED)]:
        try:
            opened: Any = safe_open(files[name], framework="pt")
            with opened as file:
                rows = file.get_slice(name)
                if tuple(rows.get_shape()) != tuple(own[name].shape):
                    yield torch.zeros(1), torch.ones(1)
                    return
                yield rows[:_ROWS], own[name][:_ROWS]
        except (SafetensorError, OSError):
            return


def _agree(base: Tensor, here: Tensor) -> bool:
    base, here = base.float(), here.float().cpu()
    return float((base - here).abs().mean()) <= _ROUNDING * float(base.abs().mean())


def _files(base: str) -> dict[str, Path]:
    """The file of each tensor of a model in a local folder or the hub's cache; none where it is not here."""

    def place(name: str) -> Path | None:
        if Path(base).is_dir():
            return Path(base) / name if (Path(base) / name).is_file() else None
        found = try_to_load_from_cache(base, name) if _is_hub_id(base) else None
        return Path(found) if isinstance(found, str) else None

    if (index := place(_INDEX)) is not None:
        try:
            parts = {name: place(part) for name, part in json.loads(index.read_text())["weight_map"].items()}
        except (OSError, ValueError, KeyError, AttributeError):
            return {}
        return {name: part for name, part in parts.items() if part is not None}
    whole = place(_WEIGHTS)
    if whole is None:
        return {}
    try:
        opened: Any = safe_open(whole, framework="pt")
        with opened as file:
            return dict.fromkeys(file.keys(), whole)
    except (SafetensorError, OSError):
        return {}


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~")) and not Path(name).exists()
