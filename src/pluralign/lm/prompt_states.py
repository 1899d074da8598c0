"""Features of prompts: the mean state of a frozen trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.backbone import Backbone
from pluralign.lm.forest import Tree
from pluralign.lm.map_forests import map_forests
from pluralign.lm.prompts import fit_prompts, prompt_ids
from pluralign.lm.trunk import branch_mean, context_length


@torch.inference_mode()
def mean_states(
    backbone: Backbone, texts: Sequence[str], *, max_length: int, token_budget: int = 4096
) -> Float[Tensor, "prompts d"]:
    """Mean state of each prompt, in float32; it depends on the prompt alone.

    Args:
        backbone: Frozen trunk.
        texts: Prompts as rendered texts.
        max_length: Largest number of tokens of a prompt, at most the trunk's context; its end is read.
        token_budget: Largest number of tokens in one forward pass.

    Raises:
        InputError: A prompt has no tokens.
    """
    ids = [prompt_ids(backbone.tokenizer, text) for text in texts]
    if empty := [number for number, one in enumerate(ids, start=1) if not one.ids]:
        raise InputError(f"prompt {empty[0]} has no tokens", field="prompts")
    longest = min(max_length, context_length(backbone.model) or max_length)
    trees = [Tree([], [one]) for one in fit_prompts(ids, longest, 0)[0]]
    found = map_forests(backbone.model, trees, branch_mean, token_budget=token_budget)
    return torch.cat(found) if found else torch.zeros(0, backbone.hidden_size)
