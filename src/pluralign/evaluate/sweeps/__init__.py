"""Sweeps over steering weights on stories and on prompts, and their Pareto fronts."""
