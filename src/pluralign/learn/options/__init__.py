"""Training of policies and rewards over listed options, from trajectories or preference pairs."""

from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.learn.options.tables import (
    DecisionIndex,
    PairTable,
    TrajectoryTable,
    encode_pairs,
    encode_trajectories,
)

__all__ = [
    "BCConfig",
    "CPLConfig",
    "DecisionIndex",
    "PairTable",
    "TrajectoryTable",
    "encode_pairs",
    "encode_trajectories",
    "fit_bc",
    "fit_cpl",
]
