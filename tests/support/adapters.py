"""Adapters of the tiny model that change what it says."""

import torch

from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import make_tiny_backbone


def adapted(seed, rank=4):
    """The tiny model with a LoRA adapter of random weights."""
    torch.manual_seed(seed)
    model = add_lora(make_tiny_backbone().model, rank)
    for name, value in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(value, std=0.3)
    return model.eval()
