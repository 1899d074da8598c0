"""Returns and harms of policies, their intervals, and how close they come to the exact Pareto front."""

from pluralign.core.pareto import (
    expected_utility,
    hypervolume,
    hypervolume_ratio,
    mixed_hypervolume,
    non_dominated,
    pareto_front,
    reference_point,
    rescale,
)
from pluralign.evaluate.harms_table import (
    HEADLINES,
    TABLE_METRICS,
    HarmsTable,
    by_episodes,
    equally,
    harms_table,
    metric_values,
)
from pluralign.evaluate.hypervolume import estimate_hypervolume_ratio
from pluralign.evaluate.play import PolicyResult, evaluate_policy, summarise
from pluralign.evaluate.statistics import (
    Correlation,
    Estimate,
    bias_corrected,
    estimate,
    estimate_columns,
    paired_difference,
    percentile,
    spearman,
    standard_error,
)
from pluralign.evaluate.sweeps.stories import SweepPoint, read_sweep, sweep

__all__ = [
    "HEADLINES",
    "TABLE_METRICS",
    "Correlation",
    "Estimate",
    "HarmsTable",
    "PolicyResult",
    "SweepPoint",
    "bias_corrected",
    "by_episodes",
    "equally",
    "estimate",
    "estimate_columns",
    "estimate_hypervolume_ratio",
    "evaluate_policy",
    "expected_utility",
    "harms_table",
    "hypervolume",
    "hypervolume_ratio",
    "metric_values",
    "mixed_hypervolume",
    "non_dominated",
    "paired_difference",
    "pareto_front",
    "percentile",
    "read_sweep",
    "reference_point",
    "rescale",
    "spearman",
    "standard_error",
    "summarise",
    "sweep",
]
