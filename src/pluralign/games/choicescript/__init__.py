"""ChoiceScript stories: load, play and check them."""

from pluralign.games.choicescript.check.statistics import StoryStatistics, story_statistics
from pluralign.games.choicescript.check.story import check_story
from pluralign.games.choicescript.compile.story import compile_story
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.choicescript.problems import Problem
from pluralign.games.choicescript.run.game import MAX_LINES_PER_STEP, ChoiceScriptGame, ChoiceScriptStory

__all__ = [
    "MAX_LINES_PER_STEP",
    "ChoiceScriptGame",
    "ChoiceScriptStory",
    "Problem",
    "StoryStatistics",
    "check_story",
    "compile_story",
    "list_stories",
    "load_story",
    "story_statistics",
]
