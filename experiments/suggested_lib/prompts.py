"""Mean states of prompts, kept in a file, and the layers that are fitted on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from console import say

from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.learn.texts.weights_head import PromptChoices, WeightsConfig, fit_head, spreads
from pluralign.lm.backbone import Backbone
from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead

LABELS = {
    "choice": WeightsConfig(),
    "margin": WeightsConfig(label="margin"),
    "softmax, T = 1": WeightsConfig(label="softmax"),
    "softmax, T = 0.1": WeightsConfig(label="softmax", temperature=0.1),
}
"""What weights are learned from; the last one is the paper's, with its temperature."""
_CHUNK = 64


def states_of(prompts: Sequence[str], backbone: Backbone, folder: Path) -> dict[str, FloatArray]:
    """Mean state of each distinct prompt, as `learn weights` reads it."""
    distinct = list(dict.fromkeys(prompts))
    path = folder / f"{digest([text.encode() for text in distinct])[:16]}.npy"
    if not path.exists():
        model = PromptWeights(backbone, WeightsHead(backbone.hidden_size, 2), ("one", "other"))
        say(f"  states of {len(distinct)} prompts")
        texts = [model.text_of(prompt) for prompt in distinct]
        found = [model.features(texts[i : i + _CHUNK]).numpy() for i in range(0, len(texts), _CHUNK)]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate(found))
    return dict(zip(distinct, np.load(path), strict=True))


def suggestions(
    states: dict[str, FloatArray],
    rewards: dict[str, FloatArray],
    config: WeightsConfig,
) -> tuple[FloatArray, FloatArray]:
    """Suggested weights for the test prompts, and the best fixed weights for the training choices.

    Args:
        states: States of the prompts, shape (pairs, d), of the parts train, validation and test.
        rewards: Rewards of the chosen and the rejected answers, shape (pairs, 2, objectives), of the first
            two parts.
        config: Settings of the method.
    """
    tensors = {part: torch.as_tensor(values).float() for part, values in rewards.items()}
    spread = spreads(tensors["train"], [str(i) for i in range(tensors["train"].shape[2])])
    parts = {
        part: PromptChoices(torch.as_tensor(states[part]).float(), values / spread)
        for part, values in tensors.items()
    }
    head = WeightsHead(states["train"].shape[1], len(spread))
    figures = fit_head(head, parts["train"], parts["validation"], config)
    with torch.no_grad():
        found = torch.softmax(head(torch.as_tensor(states["test"]).float()).double(), dim=1).numpy()
    # Weights of rewards in units of their spreads become weights of the rewards.
    scale = spread.double().numpy()
    return _normal(found / scale), _normal(np.array([figures["fixed_weights"]]) / scale)[0]


def _normal(weights: FloatArray) -> FloatArray:
    return weights / weights.sum(axis=1, keepdims=True)
