"""Parts of ``experiments/suggested_weights.py``."""
