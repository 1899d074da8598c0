"""Search over saved states of text games, steered by values under weights."""
