"""Parsing of scenes, expressions, options and the head of ``startup.txt``."""
