"""Settings of an audit. Its command line names them as well, so this module needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pluralign.core.checks import require, require_seed

Reading = Literal["letters", "likelihood"]
"""Answers that are read of models: letters, by their exact log-odds, or the likelihood of the outcome as the
reply, per token."""


@dataclass(frozen=True)
class AuditConfig:
    """Settings of an audit.

    Args:
        least_agreement: Share of pairs whose two orders must agree; below it, and if none agrees, nothing
            else is reported.
        pairs: Number of pairs of outcomes besides those of the triples; 0 is 2 N log2 N for N outcomes.
        triads: Number of triples for cycles; all of them if there are no more.
        drawn_lotteries: Number of lotteries over two or three outcomes that are drawn.
        anchors: Number of outcomes with which each lottery, and each state of a process, is compared.
        resamples: Number of bootstrap resamples.
        seed: Random seed of pairs, triples, lotteries, folds and resampling.
    """

    least_agreement: float = 0.6
    pairs: int = 0
    triads: int = 200
    drawn_lotteries: int = 40
    anchors: int = 8
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        lowest = {
            "least_agreement": 0.0,
            "pairs": 0,
            "triads": 1,
            "drawn_lotteries": 0,
            "anchors": 2,
            "resamples": 2,
        }
        require(self, lowest, {"least_agreement": 1.0})
        require_seed(self.seed)
