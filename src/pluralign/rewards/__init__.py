"""Rewards of completions: reward models, sequence classifiers, likelihood ratios, ensembles; value models."""

from pluralign.rewards.classifier import ClassifierReward, load_classifier
from pluralign.rewards.ensemble import (
    COMBINATIONS,
    RewardEnsemble,
    load_ensemble,
    measure_scales,
    save_ensemble,
)
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardModel, load_reward_model
from pluralign.rewards.spans import SpanReward

__all__ = [
    "COMBINATIONS",
    "ClassifierReward",
    "LikelihoodRatio",
    "Reward",
    "RewardEnsemble",
    "RewardModel",
    "SpanReward",
    "load_classifier",
    "load_ensemble",
    "load_reward",
    "load_reward_model",
    "measure_scales",
    "save_ensemble",
]
