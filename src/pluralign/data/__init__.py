"""Data in users' formats: preferences, demonstrations, scored completions; files, folders, hub ids."""

from pluralign.data.demonstrations import DemonstrationsRead, load_demonstrations
from pluralign.data.preferences import load_preference_pairs, to_trl_rows
from pluralign.data.scored import ScoredCompletion, ScoredRead, load_scored_completions

__all__ = [
    "DemonstrationsRead",
    "ScoredCompletion",
    "ScoredRead",
    "load_demonstrations",
    "load_preference_pairs",
    "load_scored_completions",
    "to_trl_rows",
]
