"""MACHIAVELLI's games, read from its ``game_data`` folder."""

from pluralign.games.machiavelli.folder import GameData, GameReport, is_machiavelli, load_machiavelli
from pluralign.games.machiavelli.game import MachiavelliGame, MachiavelliStory

__all__ = [
    "GameData",
    "GameReport",
    "MachiavelliGame",
    "MachiavelliStory",
    "is_machiavelli",
    "load_machiavelli",
]
