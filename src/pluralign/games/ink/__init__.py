"""Ink stories: load, play and check them."""
