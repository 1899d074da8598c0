"""Floating-point types of a training, from its options and the hardware."""

from __future__ import annotations

import torch

from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import fast_dtype, resolve_dtype
from pluralign.lm.device import default_device


def is_mixed(training: Training) -> bool:
    """Whether matrix products are in bfloat16."""
    fast = torch.bfloat16 in (fast_dtype(), trunk_dtype(training))
    return fast if training.bf16 is None else training.bf16


def trunk_dtype(training: Training) -> torch.dtype:
    """Floating-point type of the trunk's weights, or of the products of weights in 4 bits."""
    if training.dtype != "auto":
        return resolve_dtype(training.dtype)
    adapted_on_gpu = training.lora_rank > 0 and default_device().type == "cuda"
    return fast_dtype() if adapted_on_gpu else torch.float32
