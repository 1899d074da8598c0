"""Rewards of completions: reward models, sequence classifiers, likelihood ratios, ensembles; value models."""
