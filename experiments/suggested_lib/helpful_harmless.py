"""HH-RLHF's helpful and harmless pairs, mixed: do suggested weights predict choices?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from frozen_lib.data import Features, Pairs, part_of, prompt_of
from frozen_lib.heads import LinearReward
from frozen_lib.material import OBJECTIVES, reward_models

from pluralign.core import PreferencePair
from pluralign.core.arrays import FloatArray
from pluralign.core.splits import seed_for
from suggested_lib.prompts import LABELS, states_of, suggestions

EQUAL, FIXED, HIDDEN = "equal weights", "best fixed weights", "the objective of the pair, which is hidden"
_GRID = np.linspace(0, 1, 101)


def measure(pairs: Pairs, features: Features, folder: Path, seed: int) -> dict[str, Any]:
    """Figures of one division: hits and weights of every test pair by each way.

    Args:
        pairs: All pairs.
        features: Features of answers.
        folder: Folder in which states of prompts are kept.
        seed: Random seed of the division.
    """
    models, accuracies = reward_models(pairs, features, seed)
    mixed = [pair for own in pairs.divided.values() for pair in own]
    states = states_of([prompt_of(pair) for pair in mixed], features.backbone, folder)
    kept = ("train", "validation", "test")
    parts = {part: [pair for pair in mixed if part_of(pair, seed) == part] for part in kept}
    rewards = {part: rewards_of(own, models, features) for part, own in parts.items()}
    read = {part: np.stack([states[prompt_of(pair)] for pair in own]) for part, own in parts.items()}
    weights = {EQUAL: np.full((len(parts["test"]), 2), 0.5)}
    known = np.concatenate([rewards["train"], rewards["validation"]])
    fixed = _best_fixed(known)
    weights[FIXED] = np.tile(fixed, (len(parts["test"]), 1))
    seen = {part: rewards[part] for part in ("train", "validation")}
    for label, config in LABELS.items():
        weights[label], _ = suggestions(read, seen, config)
    of_set = np.array([OBJECTIVES.index(pair.objective) for pair in parts["test"]])
    weights[HIDDEN] = np.eye(2)[of_set]
    chosen = rewards["test"][:, 0]
    return {
        "seed": seed,
        "pairs": {part: len(own) for part, own in parts.items()},
        "reward_accuracy": accuracies,
        "fixed_weights": fixed.tolist(),
        "rows": [seed_for(f"{prompt_of(pair)} {pair.chosen}") for pair in parts["test"]],
        "prompts": [seed_for(prompt_of(pair)) for pair in parts["test"]],
        "harmless": of_set.tolist(),
        "hits": {way: hits(rewards["test"], own).tolist() for way, own in weights.items()},
        "weight": {way: own[:, 1].tolist() for way, own in weights.items()},
        "label": {
            "softmax, T = 1": (1 / (1 + np.exp(chosen[:, 0] - chosen[:, 1]))).tolist(),
            "margin": (1 / (1 + np.exp(np.diff(rewards["test"], axis=1)[:, 0] @ [-1, 1]))).tolist(),
        },
        "mean_reward": {
            name: {
                objective: float(chosen[of_set == place, column].mean())
                for place, objective in enumerate(OBJECTIVES)
            }
            for column, name in enumerate(OBJECTIVES)
        },
    }


def rewards_of(
    pairs: list[PreferencePair], models: dict[str, LinearReward], features: Features
) -> FloatArray:
    """Rewards of chosen and rejected answers, shape (pairs, 2, objectives)."""
    own = features.of_pairs(pairs)
    return np.stack([models[name](own) for name in OBJECTIVES], axis=2)


def hits(rewards: FloatArray, weights: FloatArray) -> FloatArray:
    """Whether the chosen answer has the higher weighted reward, shape (pairs,); ties count half."""
    gaps = ((rewards[:, 0] - rewards[:, 1]) * weights).sum(axis=1)
    return (np.sign(gaps) + 1) / 2


def _best_fixed(rewards: FloatArray) -> FloatArray:
    """The weights on a grid that predict most choices; of equal ones, those in the middle."""
    grid = np.stack([1 - _GRID, _GRID], axis=1)
    right = np.array([hits(rewards, np.tile(own, (len(rewards), 1))).mean() for own in grid])
    best = np.flatnonzero(right == right.max())
    return grid[best[len(best) // 2]]
