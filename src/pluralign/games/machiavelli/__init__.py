"""MACHIAVELLI's games, read from its ``game_data`` folder."""
