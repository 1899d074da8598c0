"""Sweeps over steering weights, on stories and on prompts, and the fronts that they reach."""
