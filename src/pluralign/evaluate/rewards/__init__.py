"""Measures of reward models: accuracy, best-of-N, win rate, separation, rank agreement."""
