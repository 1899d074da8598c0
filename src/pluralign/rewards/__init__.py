"""Whatever gives completions a reward: reward models, sequence classifiers, likelihood ratios, ensembles."""

from pluralign.rewards.classifier import ClassifierScorer, load_classifier
from pluralign.rewards.ensemble import (
    COMBINATIONS,
    RewardEnsemble,
    load_ensemble,
    measure_scales,
    save_ensemble,
)
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import open_scorer
from pluralign.rewards.scorer import CompletionScorer

__all__ = [
    "COMBINATIONS",
    "ClassifierScorer",
    "CompletionScorer",
    "LikelihoodRatio",
    "RewardEnsemble",
    "load_classifier",
    "load_ensemble",
    "measure_scales",
    "open_scorer",
    "save_ensemble",
]
