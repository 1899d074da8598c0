"""Execution: the program's instructions, and the game that runs them."""
