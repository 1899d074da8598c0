"""Parts of ``experiments/principles.py``."""
