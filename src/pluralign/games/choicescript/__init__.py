"""ChoiceScript stories: load, play and check them."""

from pluralign.games.choicescript.check import StoryStatistics, check_story, story_statistics
from pluralign.games.choicescript.interpreter import MAX_LINES_PER_STEP, ChoiceScriptGame
from pluralign.games.choicescript.load import compile_story, list_stories, load_story
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.program import Story

__all__ = [
    "MAX_LINES_PER_STEP",
    "ChoiceScriptGame",
    "Problem",
    "Story",
    "StoryStatistics",
    "check_story",
    "compile_story",
    "list_stories",
    "load_story",
    "story_statistics",
]
