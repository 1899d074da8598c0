"""ChoiceScript stories: load, play and check them."""
