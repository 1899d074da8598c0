"""The public names of measurement, each with its home: read by type checkers and by ``__init__.py``."""

from pluralign.annotate.open import open_critic as open_critic
from pluralign.data.answers import load_answers as load_answers
from pluralign.evaluate.harms_files import harms_of_files as harms_of_files
from pluralign.evaluate.mismatch import find_mismatch as find_mismatch
from pluralign.evaluate.mismatch import story_returns as story_returns
from pluralign.evaluate.play import evaluate_policy as evaluate_policy
from pluralign.evaluate.progress import evaluate_play_progress as evaluate_play_progress
from pluralign.evaluate.progress import read_play as read_play
from pluralign.evaluate.rewards.accuracy import evaluate_reward as evaluate_reward
from pluralign.evaluate.rewards.accuracy import reward_accuracy as reward_accuracy
from pluralign.evaluate.rewards.choose import choose_best as choose_best
from pluralign.evaluate.rewards.compared_completions import compare_completions as compare_completions
from pluralign.evaluate.rewards.conflict import evaluate_conflict as evaluate_conflict
from pluralign.evaluate.rewards.golden import golden_best_of_n as golden_best_of_n
from pluralign.evaluate.rewards.golden import golden_scores as golden_scores
from pluralign.evaluate.rewards.prompt_value import evaluate_prompt_value as evaluate_prompt_value
from pluralign.evaluate.rewards.source_separation import separate_sources as separate_sources
from pluralign.evaluate.rewards.story_rewards import evaluate_story_rewards as evaluate_story_rewards
from pluralign.evaluate.search import compare_searches as compare_searches
from pluralign.evaluate.values.audit import audit_values as audit_values
