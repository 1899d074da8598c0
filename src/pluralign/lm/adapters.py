"""PEFT adapters on a model: new ones, saved ones, and models with one merged into their weights."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.adapter_base import require_base
from pluralign.lm.adapter_check import PREFIX, Adapter, check_adapter
from pluralign.lm.model_parts import reads_text
from pluralign.lm.precision import in_dtype
from pluralign.lm.quantized import dequantize, dequantized, is_quantized, quantized_layers

PROBE_TOKENS = 31
"""Tokens of the text on which models are compared."""
_MERGED = 1e-3
"""Largest difference that merging may make to a logit, as a share of the largest logit."""


def add_lora(
    model: PreTrainedModel, rank: int, *, alpha: float | None = None, targets: Sequence[str] = ()
) -> Any:
    """Put a new LoRA adapter on linear layers of a model (which is changed), ready for training. Its matrices
    are in float32, whatever the model is in; there is no dropout.

    Args:
        model: Model.
        rank: Rank r.
        alpha: Numerator of the factor alpha / r; by default the rank, as in Inverse-RLignment (r 32, alpha
            32).
        targets: Names of the layers, or ends of their names; by default all linear layers below the head. A
            multimodal model's layers that no text passes are left out.

    Raises:
        InputError: No layer has such a name.
    """
    from peft import LoraConfig, get_peft_model  # heavy: only where an adapter is asked for

    alpha = rank if alpha is None else alpha
    kind: Any = LoraConfig
    adapt: Any = get_peft_model
    network: Any = model
    linear = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    others = list(itertools.filterfalse(reads_text(model), linear))
    config = kind(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=list(targets) or "all-linear",
        exclude_modules=others or None,
    )  # fmt: skip
    try:
        with _known_warnings():
            return adapt(model, config)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"cannot be adapted: {reason}", field="target_modules") from error


def is_adapted(model: PreTrainedModel) -> bool:
    """Whether a model has an adapter on it."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def read_adapter(model: PreTrainedModel, folder: Path) -> Any:
    """Put a saved adapter on a model (which is changed), for inference.

    Raises:
        InputError: The folder holds none (`check_adapter`), or one of another model.
    """
    from peft import PeftModel  # heavy: only where an adapter is asked for

    kind: Any = PeftModel
    adapter = check_adapter(Path(folder))
    require_base(adapter, model)
    try:
        with _peft_warnings() as said:
            adapted = kind.from_pretrained(model, str(folder))
            # PEFT does not say which tensors it left out, but when they are loaded a second time.
            unused = adapted.load_adapter(str(folder), "default").unexpected_keys
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        TypeError,
        AttributeError,
        ImportError,
        re.error,
    ) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # The first line of torch's list of wrong shapes says nothing.
        reason = next(
            (line for line in lines if "size mismatch" in line), (lines or [type(error).__name__])[0]
        )
        if reason.startswith("size mismatch"):
            raise adapter.of_another_model(reason) from error
        raise InputError(f"the adapter cannot be loaded: {reason}", path=folder) from error
    missing = [str(one.message) for one in said if "missing adapter keys" in str(one.message)]
    if missing or unused:
        raise adapter.of_another_model(
            missing[0] if missing else f"it changes {unused[0].removeprefix(PREFIX)}"
        )
    return adapted


def adapted_model(model: PreTrainedModel, folder: Path) -> Any:
    """A model (which is changed) with a saved adapter: a PEFT model where it is a plain LoRA below the head,
    otherwise with the adapter merged.

    Raises:
        InputError: See `read_adapter` and `merge_adapter`.
    """
    if stays_apart(model, folder):
        return read_adapter(model, folder)
    if is_quantized(model):
        raise InputError(
            "an adapter that is more than a plain LoRA cannot be put on weights in 4 bits", path=folder
        )
    # In float32, since some kinds decompose the model's weights again.
    dtype = next(model.parameters()).dtype
    return in_dtype(merge_adapter(read_adapter(in_dtype(model, torch.float32), folder), folder), dtype)


def stays_apart(model: PreTrainedModel, folder: Path) -> bool:
    """Whether a saved adapter is a plain LoRA below the head, which is not merged into the model.

    Raises:
        InputError: See `read_adapter`.
    """
    adapter = check_adapter(Path(folder))
    return not adapter.why_not_on(model) and not _changes_head(adapter, model)


def merge_adapter(adapted: Any, folder: Path | None = None) -> Any:
    """A model with its adapter merged into its weights; tied weights that would then differ are untied.

    In float32 its logits on a short text are compared with those before.

    Args:
        adapted: PEFT model, which is changed.
        folder: Folder of the adapter, for messages.

    Raises:
        InputError: An adapter of this kind cannot be merged.
    """
    if not hasattr(adapted, "merge_and_unload"):
        raise InputError("is an adapter of a kind that cannot be merged", path=folder)
    if is_quantized(adapted):
        return _merge_dequantized(adapted)
    checked = next(adapted.parameters()).dtype == torch.float32
    before = probe_logits(adapted) if checked else None
    _untie(adapted)
    _add_biases(adapted)
    try:
        with _peft_warnings():
            merged: Any = adapted.merge_and_unload()
    except (ValueError, RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        raise InputError(f"is an adapter that cannot be merged: {error}", path=folder) from error
    _tie_equal(merged)
    if before is not None:
        gap = float((probe_logits(merged) - before).abs().max() / before.abs().max().clamp(min=1.0))
        if not gap <= _MERGED:
            raise InputError(
                f"PEFT does not merge this adapter exactly: a logit changes by {gap:.1g} of the largest",
                path=folder,
            )
    return merged


def _merge_dequantized(adapted: Any) -> Any:
    """The same where the layers below the adapter are in 4 bits: they are dequantised first, since their sums
    with the adapter's products would be rounded to 4 bits again."""
    for layer in list(adapted.modules()):
        base = getattr(layer, "base_layer", None)
        if base is None:
            continue
        if not any(layer_ is base for _, layer_ in quantized_layers(base)):
            layer.merge()
            continue
        plain = dequantized(base)
        for name in layer.active_adapters:
            if name in layer.lora_A:
                plain.weight.data += layer.get_delta_weight(name).to(plain.weight)
        layer.base_layer = plain
    model = adapted.unload()
    dequantize(model)
    return model


@torch.inference_mode()
def probe_logits(model: Any) -> Tensor:
    """Logits of a short random text, the same in every call; the model is an encoder-decoder or a decoder."""
    size = int(model.get_input_embeddings().weight.shape[0])
    ids = torch.randint(size, (1, PROBE_TOKENS), generator=torch.Generator().manual_seed(0))
    ids = ids.to(next(model.parameters()).device)
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    was_training = model.training
    model.eval()
    found = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **more).logits
    model.train(was_training)
    return found[0]


def save_adapter(model: Any, folder: Path) -> None:
    """Write a PEFT model's adapter as safetensors.

    Raises:
        InputError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _known_warnings():
            model.save_pretrained(str(folder), save_embedding_layers=False)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error


def _changes_head(adapter: Adapter, model: Any) -> bool:
    head = model.get_output_embeddings()
    return any(head is model.get_submodule(layer) for layer in adapter.layers)


def _untie(adapted: Any) -> None:
    """Give every adapted layer its own weights where another layer holds them, too."""
    owners: dict[int, int] = {}
    for module in adapted.modules():
        for parameter in module.parameters(recurse=False):
            owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    for module in adapted.modules():
        base = getattr(module, "base_layer", None)
        weight = getattr(base, "weight", None)
        if isinstance(base, nn.Module) and isinstance(weight, nn.Parameter) and owners.get(id(weight), 0) > 1:
            owners[id(weight)] -= 1
            base.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)


def _add_biases(adapted: Any) -> None:
    """Give layers without a bias one of zeros where the adapter has a bias for them."""
    for module in adapted.modules():
        base = getattr(module, "base_layer", None)
        bias = getattr(base, "bias", None)
        if isinstance(base, nn.Linear) and bias is None and _has_bias(module):
            base.bias = nn.Parameter(base.weight.new_zeros(base.out_features))


def _has_bias(module: nn.Module) -> bool:
    return any(getattr(module, "lora_bias", {}).values()) or hasattr(module, "beft_bias")


def _tie_equal(model: Any) -> None:
    """Tie the head and the embedding again where they are equal; otherwise make the configuration say that
    they are not tied, since loading would tie them."""
    config = model.config
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or embedding is None or not getattr(config, "tie_word_embeddings", False):
        return
    if torch.equal(head.weight, embedding.weight):
        head.weight = embedding.weight
    else:
        config.tie_word_embeddings = False
        config.get_text_config().tie_word_embeddings = False


@contextmanager
def _known_warnings() -> Generator[None]:
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for an attribute that was renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        # GPT-2's layers keep their weights transposed, which PEFT finds out by itself.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        # Its own patterns for the experts of a mixture.
        warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys", category=RuntimeWarning)
        yield


@contextmanager
def _peft_warnings() -> Generator[list[warnings.WarningMessage]]:
    """Record what PEFT warns of: advice on training and tying, and tensors that are missing."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield said
