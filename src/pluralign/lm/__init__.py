"""Language models: the trunk, its adapters, the token forest, attention, generation."""
