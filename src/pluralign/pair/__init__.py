"""Preference pairs from annotations, and from completions of two sources."""
