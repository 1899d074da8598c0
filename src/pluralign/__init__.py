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
    from pluralign.annotate import Oracle, make_comparisons
    from pluralign.collect.roll_out import roll_out
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
    from pluralign.data import load_demonstrations, load_pairs, load_prompts, load_scored
    from pluralign.evaluate import evaluate_policy
    from pluralign.evaluate.sweeps.prompts import sweep
    from pluralign.games.env import make_env
    from pluralign.games.exact_front import exact_front
    from pluralign.games.open import open_story
    from pluralign.learn.methods import METHODS
    from pluralign.learn.methods import table as method_table
    from pluralign.learn.options import fit_bc, fit_cpl
    from pluralign.learn.texts import Training, fit_policy, fit_reward
    from pluralign.pair import make_pairs
    from pluralign.rewards import load_reward
    from pluralign.steer import SteeredPolicy, meet_targets
    from pluralign.steer.policies import Policies, load_policies

    __version__: str

_HOMES = {
    "Annotation": "pluralign.core:Annotation",
    "Decision": "pluralign.core:Decision",
    "Demonstration": "pluralign.core:Demonstration",
    "InputError": "pluralign.core:InputError",
    "METHODS": "pluralign.learn.methods:METHODS",
    "Objective": "pluralign.core:Objective",
    "Oracle": "pluralign.annotate:Oracle",
    "Policies": "pluralign.steer.policies:Policies",
    "Policy": "pluralign.core:Policy",
    "PreferencePair": "pluralign.core:PreferencePair",
    "Segment": "pluralign.core:Segment",
    "SteeredPolicy": "pluralign.steer:SteeredPolicy",
    "SteeringWeights": "pluralign.core:SteeringWeights",
    "Step": "pluralign.core:Step",
    "Training": "pluralign.learn.texts:Training",
    "Trajectory": "pluralign.core:Trajectory",
    "UniformPolicy": "pluralign.core:UniformPolicy",
    "evaluate_policy": "pluralign.evaluate:evaluate_policy",
    "exact_front": "pluralign.games.exact_front:exact_front",
    "fit_bc": "pluralign.learn.options:fit_bc",
    "fit_cpl": "pluralign.learn.options:fit_cpl",
    "fit_policy": "pluralign.learn.texts:fit_policy",
    "fit_reward": "pluralign.learn.texts:fit_reward",
    "hypervolume": "pluralign.core.pareto:hypervolume",
    "load_demonstrations": "pluralign.data:load_demonstrations",
    "load_pairs": "pluralign.data:load_pairs",
    "load_policies": "pluralign.steer.policies:load_policies",
    "load_prompts": "pluralign.data:load_prompts",
    "load_reward": "pluralign.rewards:load_reward",
    "load_scored": "pluralign.data:load_scored",
    "losses": "pluralign.losses",
    "make_comparisons": "pluralign.annotate:make_comparisons",
    "make_env": "pluralign.games.env:make_env",
    "make_pairs": "pluralign.pair:make_pairs",
    "meet_targets": "pluralign.steer:meet_targets",
    "method_table": "pluralign.learn.methods:table",
    "open_story": "pluralign.games.open:open_story",
    "pareto_front": "pluralign.core.pareto:pareto_front",
    "roll_out": "pluralign.collect.roll_out:roll_out",
    "simplex_grid": "pluralign.core:simplex_grid",
    "sweep": "pluralign.evaluate.sweeps.prompts:sweep",
}
"""Home of each public name, ``MODULE:NAME`` or a module, imported when the name is first used (PEP 562): the
import of pluralign takes a fraction of a second and needs no torch."""

__all__ = [
    "METHODS",
    "Annotation",
    "Decision",
    "Demonstration",
    "InputError",
    "Objective",
    "Oracle",
    "Policies",
    "Policy",
    "PreferencePair",
    "Segment",
    "SteeredPolicy",
    "SteeringWeights",
    "Step",
    "Training",
    "Trajectory",
    "UniformPolicy",
    "__version__",
    "evaluate_policy",
    "exact_front",
    "fit_bc",
    "fit_cpl",
    "fit_policy",
    "fit_reward",
    "hypervolume",
    "load_demonstrations",
    "load_pairs",
    "load_policies",
    "load_prompts",
    "load_reward",
    "load_scored",
    "losses",
    "make_comparisons",
    "make_env",
    "make_pairs",
    "meet_targets",
    "method_table",
    "open_story",
    "pareto_front",
    "roll_out",
    "simplex_grid",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("pluralign")
    if name not in _HOMES:
        raise AttributeError(f"module 'pluralign' has no attribute {name!r}")
    module, _, original = _HOMES[name].partition(":")
    found = importlib.import_module(module)
    value = getattr(found, original) if original else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
