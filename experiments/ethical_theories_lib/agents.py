"""Agents that learn offline from a rater's labels of options: the language model's episodes, and CPL."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.annotate.comparisons import make_comparisons
from pluralign.annotate.oracle import Oracle
from pluralign.core import Annotation, Objective, Policy, SteeringWeights, Trajectory, simplex_grid
from pluralign.core.arrays import FloatArray
from pluralign.core.splits import split_of
from pluralign.evaluate.rank_correlation import spearman
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import StateGraph
from pluralign.learn.options.cpl import fit_cpl
from pluralign.options.checkpoint import load_policy
from pluralign.options.features import FeatureSource
from pluralign.pair.pairs import make_pairs
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered_policy import SteeredPolicy
from pluralign.workflows import main_job

Table = Mapping[str, FloatArray]
"""Values of a decision's options, by the decision's key."""


@dataclass(frozen=True)
class AgentSettings:
    """Settings of the agents.

    Args:
        episodes: Number of the language model's episodes.
        comparisons: Number of comparisons of continuations, for each agent.
        steps: Number of optimizer steps of CPL.
        bc_steps: Number of optimizer steps of behaviour cloning.
        seeds: Number of seeds of the offline data and of CPL, counted from 1.
    """

    episodes: int = 1000
    comparisons: int = 4000
    steps: int = 250
    bc_steps: int = 1000
    seeds: int = 3


def label_steps(trajectories: Sequence[Trajectory], name: str, values: Table) -> list[Trajectory]:
    """The same episodes, whose steps count the value of the option taken as ``judged.NAME``."""
    return [
        replace(
            t,
            steps=tuple(
                replace(step, counts={f"judged.{name}": float(values[step.decision.key][step.action])})
                if step.decision.key in values
                else replace(step, counts={})
                for step in t.steps
            ),
        )
        for t in trajectories
    ]


def judged(name: str) -> Objective:
    """The objective that rewards a rater's values."""
    return Objective(f"judged_{name}", f"As {name} sees it.", {f"judged.{name}": 1.0})


def train_agent(
    trajectories: Sequence[Trajectory], objective: Objective, store: FeatureSource, out: Path,
    settings: AgentSettings, seed: int,
) -> Policy:  # fmt: skip
    """Compare continuations by an objective, make pairs, and train CPL; a finished agent is read.

    Args:
        trajectories: Episodes whose counts define the objective.
        objective: Objective.
        store: Features of the decisions.
        out: Folder of the agent.
        settings: See `AgentSettings`.
        seed: Random seed of the comparisons and of CPL.
    """
    if (out / "card.json").is_file():
        return load_policy(out, store)
    compared = make_comparisons(trajectories, count=settings.comparisons, seed=seed, group=split_of)
    rated = Oracle(trajectories).rate(compared, objective)
    said = [
        Annotation(comparison, objective.name, "labels", rating.preference)
        for comparison, rating in zip(compared, rated, strict=True)
        if rating is not None
    ]
    config = replace(main_job.cpl_config(), steps=settings.steps)
    agent = fit_cpl(make_pairs(said, ties="soft"), store=store, out=out, config=config, seed=seed)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return agent


def metrics(graph: StateGraph, policy: Policy, objectives: Sequence[Objective]) -> dict[str, float]:
    """MACHIAVELLI's metrics of a policy, as exact expectations: score, violations (and each kind), power,
    disutility."""
    found = exact_returns(graph, policy, objectives)
    violations = {m: v for m, v in found.counts.items() if m.startswith("violations.")}
    power = sum(v for m, v in found.counts.items() if m.startswith("power."))
    return {
        "score": found.objectives["score"],
        "harm_avoidance": found.objectives["harm_avoidance"],
        "violations": sum(violations.values()),
        "power": power,
        "disutility": found.counts.get("utility.suffering", 0.0),
        **violations,
    }


def sweep(
    graph: StateGraph, agents: Mapping[str, Policy], objectives: Sequence[Objective], steps: int
) -> list[dict[str, Any]]:
    """Metrics of the geometric mixture under every weighting of a grid on the simplex."""
    points: list[dict[str, Any]] = []
    for weights in simplex_grid(list(agents), steps):
        mixed = SteeredPolicy(agents, SteeringWeights(dict(weights)), GEOMETRIC)
        found = metrics(graph, mixed, objectives)
        # The kinds of violations are in the agents' own rows; their sum is enough here.
        kept = {name: value for name, value in found.items() if "." not in name}
        points.append({"weights": dict(weights), **kept})
    return points


def rank_correlation(points: Sequence[Mapping[str, Any]], name: str) -> float:
    """Spearman's correlation of a policy's weight with the number of violations."""
    weights = np.array([point["weights"][name] for point in points])
    return spearman(weights, np.array([point["violations"] for point in points])).value


def most_different(graph: StateGraph, agents: Mapping[str, Policy], names: Sequence[str]) -> tuple[str, str]:
    """The two agents with the largest mean total variation distance over the decisions of a story."""
    decisions = [d for d in graph.decisions if len(d.options) > 1]
    chances = {name: [np.exp(row) for row in agents[name].log_probs(decisions)] for name in names}

    def distance(pair: tuple[str, str]) -> float:
        rows = zip(chances[pair[0]], chances[pair[1]], strict=True)
        return float(np.mean([np.abs(p - q).sum() / 2 for p, q in rows]))

    return max(combinations(names, 2), key=distance)


def differing_decisions(
    graph: StateGraph, agents: Mapping[str, Policy], pair: tuple[str, str], count: int
) -> list[dict[str, Any]]:
    """The decisions on which two agents differ most, by total variation distance, with their probabilities.

    Decisions with the same last paragraph count once.
    """
    decisions = [d for d in graph.decisions if len(d.options) > 1]
    one, other = (agents[name].log_probs(decisions) for name in pair)
    rows: list[dict[str, Any]] = []
    for decision, a, b in zip(decisions, one, other, strict=True):
        p, q = np.exp(a), np.exp(b)
        rows.append(
            {
                "page": decision.prompt.strip().split("\n\n")[-1],
                "options": list(decision.options),
                pair[0]: np.round(p, 3).tolist(),
                pair[1]: np.round(q, 3).tolist(),
                "distance": float(np.abs(p - q).sum() / 2),
            }
        )
    rows.sort(key=lambda row: -row["distance"])
    known: dict[str, dict[str, Any]] = {}
    for row in rows:
        known.setdefault(repr(row["options"]), row)
    return list(known.values())[:count]
