"""Weights of people from their choices, the next question to ask, and decisions that weights leave open."""
