"""Annotations, and other people's preference data, into pairs."""

from pluralign.pair.pairs import PairingResult, Ties, make_pairs, pair, pairs_summary
from pluralign.pair.preference_data import load_preference_pairs, to_trl_rows

__all__ = [
    "PairingResult",
    "Ties",
    "load_preference_pairs",
    "make_pairs",
    "pair",
    "pairs_summary",
    "to_trl_rows",
]
