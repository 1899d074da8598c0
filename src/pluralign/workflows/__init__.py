"""Whole jobs in several stages, which the command line, the demo and the experiments call."""
