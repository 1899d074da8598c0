"""Data types that the stages exchange. NumPy only."""

from pluralign.core.demonstration import Demonstration
from pluralign.core.errors import InputError
from pluralign.core.examples import Examples
from pluralign.core.interfaces import Policy, UniformPolicy
from pluralign.core.objective import Objective
from pluralign.core.preference import Annotation, Comparison, PreferencePair
from pluralign.core.rewards import OptionRewards
from pluralign.core.trajectory import Decision, Segment, Step, Trajectory, sum_by_name
from pluralign.core.weights import SteeringWeights, simplex_grid

__all__ = [
    "Annotation",
    "Comparison",
    "Decision",
    "Demonstration",
    "Examples",
    "InputError",
    "Objective",
    "OptionRewards",
    "Policy",
    "PreferencePair",
    "Segment",
    "SteeringWeights",
    "Step",
    "Trajectory",
    "UniformPolicy",
    "simplex_grid",
    "sum_by_name",
]
