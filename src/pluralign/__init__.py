"""Learn each value once, offline. Choose the mix at inference time.

>>> import pluralign as pl
>>> mix = pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random")
>>> answer = mix.generate("Hello", weights={"helpful": 0.7, "harmless": 0.3}, max_new_tokens=8)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pluralign import losses
    from pluralign.annotate import Oracle, annotate
    from pluralign.collect import collect
    from pluralign.core import (
        Annotation,
        Decision,
        Demonstration,
        InputError,
        Objective,
        Policy,
        PreferencePair,
        Segment,
        SteeringWeights,
        Step,
        Trajectory,
        UniformPolicy,
        simplex_grid,
    )
    from pluralign.core.pareto import hypervolume, pareto_front
    from pluralign.evaluate import evaluate_policy
    from pluralign.games.env import TextGameEnv
    from pluralign.games.exact_front import exact_front
    from pluralign.games.open import open_game
    from pluralign.learn.methods import METHODS
    from pluralign.learn.methods import table as method_table
    from pluralign.learn.options import fit_bc, fit_cpl
    from pluralign.learn.texts import Training, fit_policy, fit_reward
    from pluralign.pair import make_pairs
    from pluralign.steer import SteeredPolicy, meet_targets
    from pluralign.steer.policies import Policies, load_policies

_HOMES = {
    "losses": "pluralign.losses:",
}
