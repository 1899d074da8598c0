"""Training: one function per family, data in, checkpoint folder out."""

from pluralign.learn.bc import BCConfig, fit_bc
from pluralign.learn.cpl import CPLConfig, fit_cpl
from pluralign.learn.tables import (
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
