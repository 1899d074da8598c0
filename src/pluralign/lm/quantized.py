"""Trunks in 4 bits (NF4 with double quantisation; Dettmers et al. 2023, QLoRA), by bitsandbytes.

Only the weights of the trunk's plain linear layers are quantised; embeddings, norms, biases and heads stay as
they are. A layer's product is computed in the model's floating-point type, from weights that are dequantised
for it, so that a token's state does not depend on the tokens next to it. (LLM.int8 is not offered for this
reason: it quantises activations, and treats a column differently if any token of the batch has an outlier.)
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.packed import unread_linears
from pluralign.lm.passes import trunk_of

_IDS = [3, 4]


def require_bitsandbytes() -> Any:
    """The package bitsandbytes.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise InputError(
            "4-bit weights need the package bitsandbytes: pip install 'pluralign[quantized]'", field="load_in"
        )
    return import_module("bitsandbytes")


def quantize(model: PreTrainedModel, device: torch.device) -> None:
    """Quantise the linear layers of a model's trunk, one after the other, and move the model to a device.

    Args:
        model: Model, which is changed; its floating-point type is that of the products.
        device: Device of the result.

    Raises:
        InputError: The package is missing, the model is an encoder-decoder, or its trunk has no plain linear
            layers.
    """
    bnb, network = require_bitsandbytes(), _any(model)
    if model.config.is_encoder_decoder:
        raise InputError("encoder-decoder models are not loaded in 4 bits", field="load_in")
    ids = torch.tensor([_IDS], device=model.device)
    places = unread_linears(trunk_of(model), lambda: network(input_ids=ids, use_cache=False))
    if not places:
        raise InputError(
            f"models of type {model.config.model_type!r} have no plain linear layers to quantise",
            field="load_in",
        )
    for parent, name in places:
        linear: nn.Linear = getattr(parent, name)
        weight = linear.weight.detach()
        layer = bnb.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False, compute_dtype=weight.dtype,
            compress_statistics=True, quant_type="nf4", device="meta",
        )  # fmt: skip
        layer.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer
        )
        layer.bias = linear.bias
        # On processors with AVX512-BF16 inference would round the blocks' scales to bfloat16, so that a model
        # would differ from what was trained; and layers narrower than a block would fail.
        layer.support_avx512bf16_for_cpu = False
        setattr(parent, name, layer.to(device))
    for parameter in network.parameters():
        if parameter.is_floating_point():
            # A view of the mapped file would keep all of it in memory.
            parameter.data = parameter.data.clone()
    # PEFT chooses its layers by this attribute.
    network.is_loaded_in_4bit = True
    network.to(device)


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Names and modules of a model's layers in 4 bits."""
    network: Any = model
    for name, module in network.named_modules():
        if _is_quantized(module):
            yield name, module


def is_quantized(model: nn.Module) -> bool:
    """Whether a model has layers in 4 bits."""
    return any(True for _ in quantized_layers(model))


def dequantized(layer: Any) -> nn.Linear:
    """A plain linear layer with the values of a layer in 4 bits."""
    found = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    found.weight = nn.Parameter(dequantized_weight(layer), requires_grad=False)
    found.bias = layer.bias
    return found


def dequantized_weight(layer: Any) -> Tensor:
    """The weights of a layer in 4 bits, in the type of its products."""
    functional: Any = import_module("bitsandbytes.functional")
    state = layer.weight.quant_state
    if getattr(state, "packing_format_for_cpu", False):
        layer.state_dict()  # weights that were laid out for the CPU's inference get their own order back
        state = layer.weight.quant_state
    return functional.dequantize_4bit(layer.weight.data, state).to(layer.compute_dtype)


def dequantize(model: PreTrainedModel) -> None:
    """Put plain layers with the same values in the place of a model's layers in 4 bits."""
    for name, layer in list(quantized_layers(model)):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, dequantized(layer))
    _any(model).is_loaded_in_4bit = False


def _is_quantized(module: nn.Module) -> bool:
    # Without the package there is no such layer; PEFT's layers of this name hold one as their base.
    kind = type(module)
    return kind.__name__ == "Linear4bit" and kind.__module__.startswith("bitsandbytes.")


def _any(model: nn.Module) -> Any:
    return model
