"""Parsing: scene text, expressions, options and the head of ``startup.txt`` become trees."""
