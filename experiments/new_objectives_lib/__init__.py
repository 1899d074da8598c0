"""Parts of ``experiments/new_objectives.py``."""
