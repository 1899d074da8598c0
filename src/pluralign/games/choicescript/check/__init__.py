"""Checks: errors in a story, found with and without playing it, and its size."""
