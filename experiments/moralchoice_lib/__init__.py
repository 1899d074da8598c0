"""The rooms of ``experiments/moralchoice.py``."""
