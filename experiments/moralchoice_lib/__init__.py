"""Parts of ``experiments/moralchoice.py``."""
