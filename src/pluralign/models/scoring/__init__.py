"""Whatever gives completions a reward: reward models, sequence classifiers, likelihood ratios, ensembles."""

from pluralign.models.scoring.classifier import ClassifierScorer, load_classifier
from pluralign.models.scoring.closed_form import LikelihoodRatio
from pluralign.models.scoring.ensemble import (
    COMBINATIONS,
    RewardEnsemble,
    load_ensemble,
    measure_scales,
    save_ensemble,
)
from pluralign.models.scoring.open import open_scorer
from pluralign.models.scoring.scorer import CompletionScorer

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
