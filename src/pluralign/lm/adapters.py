"""LoRA adapters, through PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from pluralign.core import InputError


def add_lora(model: PreTrainedModel, rank: int) -> Any:
    """Put a new LoRA adapter on every linear layer of a model (which is changed), ready for training.

    alpha = rank and no dropout, as in Inverse-RLignment (r 32, alpha 32).
    """
    from peft import LoraConfig, get_peft_model  # heavy: only where an adapter is asked for

    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules="all-linear")
    with _known_warnings():
        return get_peft_model(model, config)  # pyright: ignore[reportArgumentType]


def is_adapted(model: PreTrainedModel) -> bool:
    """Whether a model has an adapter on it."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def read_adapter(model: PreTrainedModel, folder: Path) -> Any:
    """Put a saved adapter on a model (which is changed), for inference.

    Raises:
        InputError: the folder holds none, or not one of this model.
    """
    from peft import PeftModel  # heavy: only where an adapter is asked for

    if not (Path(folder) / "adapter_config.json").exists():
        raise InputError("holds no PEFT adapter (no adapter_config.json)", path=folder)
    if not (Path(folder) / "adapter_model.safetensors").exists():
        raise InputError("holds no adapter_model.safetensors", path=folder)
    try:
        with _known_warnings():
            return PeftModel.from_pretrained(model, str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"the adapter cannot be loaded: {reason}", path=folder) from error


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter as safetensors.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _known_warnings():
            model.save_pretrained(str(folder), save_embedding_layers=False)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error


@contextmanager
def _known_warnings() -> Generator[None]:
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for an attribute that was renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield
