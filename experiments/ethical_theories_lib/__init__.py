"""Parts of ``experiments/ethical_theories.py``."""
