"""Annotation: raters compare segments of trajectories, or the options of decisions."""
