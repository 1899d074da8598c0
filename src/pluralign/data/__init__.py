"""Data in users' formats: preferences, demonstrations, scored completions, prompts and answers; from files,
folders, hub ids or memory."""

from pluralign.data.load import (
    Prompt,
    ScoredCompletion,
    load_demonstrations,
    load_pairs,
    load_prompts,
    load_scored,
)
from pluralign.data.reading import learned_template
from pluralign.data.text_pairs import TextPair, one_step_pair, to_trl_rows

__all__ = [
    "Prompt",
    "ScoredCompletion",
    "TextPair",
    "learned_template",
    "load_demonstrations",
    "load_pairs",
    "load_prompts",
    "load_scored",
    "one_step_pair",
    "to_trl_rows",
]
