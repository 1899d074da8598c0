"""Annotations, and other people's preference data, into pairs."""

from pluralign.pair.demonstrations import DemonstrationsRead, load_demonstrations
from pluralign.pair.pairs import PairingResult, Ties, make_pairs, pair, pairs_summary
from pluralign.pair.preference_data import load_preference_pairs, to_trl_rows
from pluralign.pair.recipes import RECIPES, pair_completions
from pluralign.pair.scored_completions import ScoredCompletion, ScoredRead, load_scored_completions

__all__ = [
    "RECIPES",
    "DemonstrationsRead",
    "PairingResult",
    "ScoredCompletion",
    "ScoredRead",
    "Ties",
    "load_demonstrations",
    "load_preference_pairs",
    "load_scored_completions",
    "make_pairs",
    "pair",
    "pair_completions",
    "pairs_summary",
    "to_trl_rows",
]
