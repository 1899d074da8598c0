"""Learn each value once, offline. Choose the mix at inference time."""

from importlib.metadata import version as _version

from pluralign.core import (
    Annotation,
    Decision,
    InputError,
    Objective,
    Policy,
    PreferencePair,
    Segment,
    SteeringWeights,
    Step,
    Trajectory,
    UniformPolicy,
)

__version__ = _version("pluralign")

__all__ = [
    "Annotation",
    "Decision",
    "InputError",
    "Objective",
    "Policy",
    "PreferencePair",
    "Segment",
    "SteeringWeights",
    "Step",
    "Trajectory",
    "UniformPolicy",
    "__version__",
]
