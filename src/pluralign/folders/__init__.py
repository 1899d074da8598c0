"""Folders of trained models: card and weights."""
