"""Preference pairs from annotations, and from completions of two sources."""

from pluralign.pair.pairs import Ties, make_pairs, pair, pairs_summary
from pluralign.pair.recipes import RECIPES, pair_completions

__all__ = ["RECIPES", "Ties", "make_pairs", "pair", "pair_completions", "pairs_summary"]
