"""Ink stories: load, play and check them."""

from pluralign.games.ink.check import check_ink
from pluralign.games.ink.game import InkGame, InkStory
from pluralign.games.ink.load import is_ink, load_ink

__all__ = ["InkGame", "InkStory", "check_ink", "is_ink", "load_ink"]
