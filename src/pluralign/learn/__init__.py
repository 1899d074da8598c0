"""All training methods: a function for each row of `METHODS`, its settings, and what it takes.

Trainers on texts take rows, a `Run` (model, output folder, training options, seed) and their settings.
Trainers on listed options take trajectories or pairs, features of a frozen language model (``store``) and a
folder.
"""

from __future__ import annotations

from pluralign.lazy import lazy_names

# The table of methods, settings and weightings need no torch.
__getattr__, __dir__, __all__ = lazy_names(__name__)
