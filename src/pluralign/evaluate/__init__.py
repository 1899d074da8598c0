"""Measurement of policies, rewards and completions: a function for each verb of ``pluralign evaluate``.

Completions are read by `load_answers`. Functions that score texts with rewards keep these in the folder that
they are given, from which an interrupted measurement continues.
"""

from __future__ import annotations

from pluralign.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
