"""Z-machine stories: Infocom's games, Inform's, and the annotated ones of Jiminy Cricket."""
