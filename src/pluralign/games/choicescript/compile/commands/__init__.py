"""Compilation of each command."""
