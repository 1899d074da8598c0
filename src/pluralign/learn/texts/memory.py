"""Memory that training takes, from a model's configuration: a step is run on tensors without data."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.learn.texts.precision import is_mixed, trunk_dtype
from pluralign.learn.texts.training_options import Training
from pluralign.lm.adapters import add_lora
from pluralign.lm.attention import ForestLayout
from pluralign.lm.backbone import TINY_RANDOM, state_width
from pluralign.lm.checkpointing import checkpointed_layers
from pluralign.lm.forest import Forest, Tree, plant
from pluralign.lm.layers import trunk_layers
from pluralign.lm.memory_trace import MemoryTrace, fused_attention
from pluralign.lm.passes import run_layout, trunk_of
from pluralign.lm.pretrained import read_empty
from pluralign.lm.support import assume_forests
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.vocabulary import branch_log_probs

# NF4 with double quantisation: half a byte, a byte for 64 weights, and 4 bytes for 256 of these.
_BYTES_4BIT = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class TrainingMemory:
    """Memory of training on one device, in bytes.

    Args:
        weights: Weights of the model, as they are held.
        adapter: Weights of the LoRA adapter.
        gradients: Gradients of the trained weights.
        optimizer: Two moments of AdamW for each trained weight.
        gathered: Whole weights, and gradients of a layer, that a sharded process holds at a time.
        activations: What one forest keeps for the backward pass.
        logits: Largest part of ``temporary`` that the vocabulary head takes.
        temporary: Tensors that a pass makes and frees again, at the peak.
        loading: The whole model, which each process reads before training.
        peak: Largest sum at any time.
    """

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int
    temporary: int
    loading: int
    peak: int


@checked
def estimate_memory(
    model: str | Path, training: Training | None = None, *, reward: bool = False, shards: int = 1
) -> TrainingMemory:
    """Estimate the memory that training takes, from the model's configuration alone.

    A step with several full forests is run on tensors without data: half of each forest's tokens are prompts,
    and each prompt has two completions. Attention is counted as fused kernels need it. Not counted are
    Python, PyTorch and the data (0.5 to 1 GB), states of frozen layers (``training.layers``), what a
    kernel needs for itself, and memory that the allocator holds back.

    >>> memory = estimate_memory("tiny-random", Training(lora_rank=4))
    >>> memory.optimizer == 2 * memory.gradients
    True

    Args:
        model: Hub id, local folder or built-in name.
        training: Training options; ``token_budget`` is the number of tokens of a forest.
        reward: Whether a reward at the last token is learned; by default log-probabilities (DPO).
        shards: Number of processes that share weights, gradients and optimizer under FSDP2 or ZeRO-3.

    Raises:
        InputError: The model's configuration cannot be read, or its layers cannot read forests.
    """
    training = training or Training()
    if shards < 1:
        raise InputError(f"must be at least 1, found {shards}", field="shards")
    with torch.device("meta"):
        network: Any = _empty(str(model), trunk_dtype(training))
        known = {id(value) for value in network.parameters()}
        weights = _weights(network, training)
        network = _prepared(network, training, reward)
    adapter = _bytes(value for value in network.parameters() if id(value) not in known)
    gradients = sum(4 * value.numel() for value in network.parameters() if value.requires_grad)
    activations, logits, temporary = _step(network, training, reward)
    if training.load_in is not None:
        temporary += max(2 * linear.weight.numel() for linear in _linears(network))
    gathered = 0 if shards == 1 else _gathered(network)
    held = (weights + adapter + 3 * gradients) // shards
    peak = max(held + gathered + activations + temporary, weights + adapter)
    return TrainingMemory(
        weights, adapter, gradients, 2 * gradients, gathered, activations, logits, temporary,
        weights + adapter, peak,
    )  # fmt: skip


def _empty(model: str, dtype: torch.dtype) -> Any:
    return make_tiny_model().to(dtype) if model == TINY_RANDOM else read_empty(model, dtype)  # pyright: ignore


def _prepared(network: Any, training: Training, reward: bool) -> Any:
    """The model, with exactly those weights trainable that training would train."""
    assume_forests(network)
    if training.lora_rank:
        network = add_lora(
            network, training.lora_rank, alpha=training.lora_alpha, targets=training.target_modules
        )
    elif training.layers is not None:
        network.requires_grad_(False)
        layers = trunk_layers(network)
        for layer in layers[len(layers) - training.layers :]:
            layer.requires_grad_(True)
    elif reward and network.get_output_embeddings().weight is not network.get_input_embeddings().weight:
        network.get_output_embeddings().requires_grad_(False)
    return network.eval()


@torch.enable_grad()
def _step(network: Any, training: Training, reward: bool) -> tuple[int, int, int]:
    """Bytes of activations, of logits, and of temporary tensors at the peak, of one forest of several."""
    forest = _forest(training)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _replace_by_fakes(network)
        head = nn.Linear(state_width(network), 1) if reward else None
        trace = MemoryTrace()
        with fused_attention(), trace:
            with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed(training)):
                hidden = _hidden(network, training, forest)
                kept, before = trace.now, trace.peak
                trace.peak = kept
                if head is None:
                    loss = branch_log_probs(network, hidden, forest).sum()
                else:
                    loss = head(hidden[forest.ends].float()).sum()
                logits = trace.peak - kept
                trace.peak = max(before, trace.peak)
                del hidden
            if loss.requires_grad:
                torch.autograd.backward([loss])
    return kept, logits, trace.peak - kept


def _hidden(network: Any, training: Training, forest: Forest) -> Tensor:
    layout = ForestLayout(forest)
    with checkpointed_layers(network) if training.gradient_checkpointing else nullcontext():
        output = run_layout(network, layout, forest.position_ids, input_ids=forest.input_ids)
    return output.last_hidden_state[0]


def _replace_by_fakes(network: nn.Module) -> None:
    """Give a model weights, gradients and buffers that have a device but no data."""
    made: dict[int, Any] = {}
    for module in network.modules():
        for name, value in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            if id(value) not in made:
                made[id(value)] = nn.Parameter(_fake(value), value.requires_grad)
                made[id(value)].grad = _fake(value) if value.requires_grad else None
            setattr(module, name, made[id(value)])
        for name, value in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            setattr(module, name, _fake(value))


def _fake(value: Tensor) -> Tensor:
    return torch.empty(value.shape, dtype=value.dtype, device="cpu")


def _forest(training: Training) -> Forest:
    """A full forest: prompts of half the tokens, and two completions of each."""
    budget = training.token_budget
    length = min(training.max_length, budget)
    completion = max(1, length // 4)
    tree = Tree([0] * max(1, length - 2 * completion), [[0] * completion, [0] * completion])
    (forest,) = plant([tree] * max(1, budget // length), 2 * budget)
    return forest


def _weights(network: nn.Module, training: Training) -> int:
    if training.load_in is None:
        return _bytes(network.parameters())
    quantised = {id(linear.weight): linear.weight for linear in _linears(network)}
    rest = _bytes(value for value in network.parameters() if id(value) not in quantised)
    return rest + round(_BYTES_4BIT * sum(value.numel() for value in quantised.values()))


def _linears(network: Any) -> list[nn.Linear]:
    return [module for module in trunk_of(network).modules() if type(module) is nn.Linear]


def _gathered(network: Any) -> int:
    """Two layers, one that is computed and the next; the weights outside of layers; a layer's gradients."""
    layers = trunk_layers(network)
    inside = {id(value) for value in layers.parameters()}
    outside = [value for value in network.parameters() if id(value) not in inside]
    largest = max(_bytes(layer.parameters()) for layer in layers)
    trained = max(4 * sum(v.numel() for v in layer.parameters() if v.requires_grad) for layer in layers)
    return _bytes(outside) + 2 * largest + trained


def _bytes(values: Iterable[Tensor]) -> int:
    return sum(value.nbytes for value in values)
