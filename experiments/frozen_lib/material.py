"""Reward models of one division, and samples of the frozen model for prompts that no division contains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from afd_lib.stages import Draws, Recipe, Workshop

from frozen_lib.data import Features, Pairs, part_of, prompt_of
from frozen_lib.heads import LinearReward, fit_reward
from pluralign.core import Decision
from pluralign.core.arrays import FloatArray
from pluralign.core.splits import seed_for

OBJECTIVES = ("helpful", "harmless")


def reward_models(
    pairs: Pairs, features: Features, seed: int
) -> tuple[dict[str, LinearReward], dict[str, dict[str, float]]]:
    """Reward model of each objective, from the part for rewards, and its accuracy on each objective's test
    pairs. A fifth of the rows chooses the penalty."""
    models: dict[str, LinearReward] = {}
    for objective in OBJECTIVES:
        own = [pair for pair in pairs.divided[objective] if part_of(pair, seed) == "rewards"]
        own += pairs.more[objective]
        train = [pair for pair in own if seed_for(f"penalty {prompt_of(pair)}", seed) % 5]
        held_out = [pair for pair in own if not seed_for(f"penalty {prompt_of(pair)}", seed) % 5]
        models[objective] = fit_reward(features.of_pairs(train), features.of_pairs(held_out))
    tests = {
        objective: features.of_pairs([p for p in pairs.divided[objective] if part_of(p, seed) == "test"])
        for objective in OBJECTIVES
    }
    accuracies = {
        name: {objective: model.accuracy(own) for objective, own in tests.items()}
        for name, model in models.items()
    }
    return models, accuracies


def drawn(pairs: Pairs, model: str, folder: Path, samples: int, tokens: int) -> Draws:
    """Samples for the prompts of both objectives, at temperature 1; drawn once."""
    prompts = [prompt for objective in OBJECTIVES for prompt in pairs.prompts[objective]]
    return Workshop(folder, Recipe(model, tokens), 1).drawn("draws", None, prompts, samples)


def sample_features(draws: Draws, features: Features, samples: int) -> FloatArray:
    """Features of the first samples of each prompt, shape (prompts, samples, d)."""
    found = features.of_decisions([Decision(prompt, tuple(own)) for prompt, own in draws.items()])
    return np.stack([own[:samples] for own in found])


def objective_of(pairs: Pairs) -> Mapping[str, str]:
    """Objective of each prompt for drawing."""
    return {prompt: objective for objective in OBJECTIVES for prompt in pairs.prompts[objective]}
