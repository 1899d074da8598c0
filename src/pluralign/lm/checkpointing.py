"""Gradient checkpointing: activations of layers are computed again in the backward pass and not kept.

Each layer keeps its input alone (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). The
models stay in eval mode, in which transformers' own checkpointing does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from pluralign.lm.layers import trunk_layers
from pluralign.lm.tensors import recomputed


@contextmanager
def checkpointed_layers(model: PreTrainedModel) -> Generator[None]:
    """Inside, a forward pass under autograd keeps the inputs of the model's layers and no other activations.

    Only layers' forward functions are replaced, so hooks on the layers run once, outside of what is computed
    again. Nothing is replaced where gradients are disabled.

    Args:
        model: Language model in eval mode; PEFT models too.

    Raises:
        InputError: The model's layers cannot be found.
    """
    layers = _layers(model) if torch.is_grad_enabled() else []
    for layer in layers:
        forward: Any = partial(_checkpointed, layer.forward)
        layer.forward = forward
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    """The outermost modules that transformers would checkpoint; else the layers of the trunk."""
    marked = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    inner = {id(module) for layer in marked for module in layer.modules() if module is not layer}
    return [layer for layer in marked if id(layer) not in inner] or list(trunk_layers(model))


def _checkpointed(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # Dropout is off, so there is no random state to restore.
    return recomputed(forward, *args, preserve_rng_state=False, **kwargs)
