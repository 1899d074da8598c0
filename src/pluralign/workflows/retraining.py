"""The alternative to steering: one agent per weighting, trained for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pluralign.annotate.oracle import Oracle
from pluralign.core import Objective, SteeringWeights, simplex_grid
from pluralign.core.arrays import varies
from pluralign.core.records import read_annotations, read_trajectories
from pluralign.evaluate.play import evaluate_policy
from pluralign.pair.pairs import make_pairs
from pluralign.workflows.main_job import TIE_RULES, MainJob, annotation_file, cpl_config


def blended(job: MainJob, weights: SteeringWeights) -> Objective:
    """One objective that blends both, each in units of its standard deviation over the offline data."""
    returns = [t.returns() for t in read_trajectories(job.trajectories)]
    coefficients: dict[str, float] = {}
    for objective in job.objectives:
        own = np.array([r[objective.name] for r in returns])
        spread = float(own.std()) if varies(own) else 1.0
        for metric, value in objective.coefficients.items():
            share = weights[objective.name] * value / spread
            coefficients[metric] = coefficients.get(metric, 0.0) + share
    text = ", ".join(f"{weight:g} of {name}" for name, weight in weights.items())
    return Objective("blend", f"Both together: {text}.", coefficients)


def retrain_per_weight(job: MainJob) -> dict[str, Any]:
    """Train a CPL policy per weighting, on the oracle's labels for the blended objective, over the
    comparisons that the agents were trained on."""
    from pluralign.learn.options.cpl import fit_cpl
    from pluralign.options.checkpoint import load_card

    seed, first = job.settings.seed, job.settings.objectives[0]
    annotations = read_annotations(annotation_file(job, "oracle", first))
    oracle = Oracle(read_trajectories(job.trajectories), seed=seed)
    points: list[Mapping[str, Any]] = []
    for weights in simplex_grid(job.settings.objectives, job.settings.retrained)[1:-1]:
        objective = blended(job, weights)
        ratings = oracle.rate([a.comparison for a in annotations], objective)
        relabelled = [
            replace(a, objective=objective.name, preference=rating.preference)
            for a, rating in zip(annotations, ratings, strict=True)
            if rating is not None
        ]
        pairs = make_pairs(relabelled, ties=TIE_RULES["oracle"])
        folder = job.folder / "policies" / f"cpl-oracle-blend-{weights[first]:.3g}"
        policy = fit_cpl(pairs, store=job.models.store, out=folder, config=cpl_config(), seed=seed)
        result = evaluate_policy(
            job.make_game, policy, episodes=job.settings.play, seed=seed, objectives=job.objectives
        )
        seconds = float(load_card(folder).figures["seconds"])
        points.append(
            {
                "weights": dict(weights),
                "returns": {name: e.mean for name, e in result.returns.items()},
                "stderr": {name: e.stderr for name, e in result.returns.items()},
                "metrics": {name: asdict(e) for name, e in result.metrics.items()},
                "seconds": seconds,
            }
        )
        job.say(f"  trained for {', '.join(f'{w:g} {n}' for n, w in weights.items())}: {seconds:.0f} s")
    return {"points": points}
