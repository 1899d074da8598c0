"""Audits whose truth is known, and SmolLM2's: order consistency, and weights that agents act by.

    python experiments/audit.py --out runs/audit

Part 1 asks SmolLM2-135M about pairs of outcomes, by letters and by likelihoods. Part 2 plans agents for known
weightings of a story's objectives, exactly and without training, and infers the weights from their episodes.
An agent takes option a in state s with probability proportional to exp(b sum_k w_k Q_k(s, a) / s_k); Q_k is
the expected return of objective k, s_k its deviation between the options of a state under random play. The
values of options, from which weights are inferred, are either these Q_k (the agent's own continuation) or the
best return of each objective alone, which an outsider knows without the agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, wrote

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.core.files import write_json, write_text
from pluralign.evaluate.statistics import wilson
from pluralign.evaluate.values.audit import AuditConfig, ValueAudit
from pluralign.evaluate.values.choosers import ReplyChooser, letter_chooser
from pluralign.evaluate.values.outcomes import load_outcomes
from pluralign.evaluate.values.report import (
    AuditPoint,
    ValuesReport,
    describe_gate,
    describe_preferences,
    write_values_report,
)
from pluralign.games.choicescript.load import list_stories
from pluralign.games.state_graph import END, StateGraph, explore
from pluralign.options.open import Models

OBJECTIVES = ("score", "harm_avoidance")
RESULTS = Path(__file__).parent / "results"
OUTCOMES = Path(__file__).parents[1] / "examples" / "outcomes.json"


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        results: Folder of the result files.
        model: Language model; empty for the agents only.
        drawn_lotteries: Number of lotteries that the model is asked about.
        stories: Names of the stories.
        seeds: Number of seeds.
        steps: Number of steps of the grid of weightings.
        episodes: Number of episodes of each agent.
        decisiveness: Decisiveness b of the agents.
    """

    out: Path = Path("runs/audit")
    results: Path = RESULTS
    model: str = "smollm2-135m"
    drawn_lotteries: int = 0
    stories: tuple[str, ...] = tuple(list_stories())
    seeds: int = 3
    steps: int = 10
    episodes: int = 10
    decisiveness: float = 3.0


def run(settings: Settings) -> None:
    """Run both parts and write audit.json and audit.md."""
    rows = agents(settings)
    models = audits(settings) if settings.model else {}
    figures = {"agents": rows, "models": {name: audit.to_json() for name, audit in models.items()}}
    write_json(settings.results / "audit.json", figures)
    wrote(write_text(settings.results / "audit.md", table(settings, rows, models)), "table")


def audits(settings: Settings) -> dict[str, ValueAudit]:
    """SmolLM2 by letters and by likelihoods."""
    model = Models(settings.model, dtype="float32").language_model
    outcomes = load_outcomes(OUTCOMES)
    config = AuditConfig(drawn_lotteries=settings.drawn_lotteries)
    found: dict[str, ValueAudit] = {}
    for reading, chooser in (("letters", letter_chooser(model)), ("likelihood", ReplyChooser(model))):
        out = settings.out / reading
        found[reading] = pl.audit_values(chooser, outcomes, config=config, out=out)
        write_values_report(ValuesReport([AuditPoint(reading, audit=found[reading])]), out)
        say(describe_gate(found[reading].consistency, reading, config.least_agreement))
    return found


def agents(settings: Settings) -> list[dict[str, Any]]:
    """Weights inferred from the episodes of agents that were planned for known ones."""
    rows: list[dict[str, Any]] = []
    for name in settings.stories:
        story = pl.open_story(name)
        graph = explore(story.make_game())
        rewards = graph.rewards([story.info.objective(objective) for objective in OBJECTIVES])
        random, _ = plan(graph, rewards, np.zeros(2), np.ones(2))
        scales = deviations(graph, random)
        best = np.column_stack([best_returns(graph, rewards[:, k]) for k in range(2)])
        for step in range(settings.steps + 1):
            weight = step / settings.steps
            theta = settings.decisiveness * np.array([weight, 1 - weight])
            own, policy = plan(graph, rewards, theta, scales)
            for seed in range(settings.seeds):
                visited = play(graph, policy, settings.episodes, seed)
                for grounding, values in (("own continuation", own), ("best returns", best)):
                    posterior = infer(graph, visited, values, scales, seed)
                    low, high = posterior.interval("score")
                    rows.append(
                        {
                            "story": name, "weight": weight, "seed": seed, "grounding": grounding,
                            "mean": posterior.mean["score"], "low": low, "high": high,
                            "holds": low <= weight <= high,
                            "choices": posterior.answers,
                        }
                    )  # fmt: skip
        say(f"{name}: {len(rows)} rows")
    return rows


def plan(
    graph: StateGraph, rewards: FloatArray, theta: FloatArray, scales: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Expected returns by objective of each edge, shape (edges, objectives), and its probability, shape
    (edges,), of the agent that weighs them by theta."""
    returns, policy = np.zeros_like(rewards), np.zeros(len(rewards))
    values = np.zeros((len(graph.states), rewards.shape[1]))
    for state in graph.backwards.tolist():
        if state == END:
            continue
        edges = slice(graph.first[state], graph.first[state + 1])
        returns[edges] = rewards[edges] + values[graph.target[edges]]
        utilities = returns[edges] @ (theta / scales)
        odds = np.exp(utilities - utilities.max())
        policy[edges] = odds / odds.sum()
        values[state] = policy[edges] @ returns[edges]
    return returns, policy


def best_returns(graph: StateGraph, rewards: FloatArray) -> FloatArray:
    """Best attainable return of each edge, shape (edges,)."""
    returns, values = np.zeros(len(rewards)), np.zeros(len(graph.states))
    for state in graph.backwards.tolist():
        if state == END:
            continue
        edges = slice(graph.first[state], graph.first[state + 1])
        returns[edges] = rewards[edges] + values[graph.target[edges]]
        values[state] = returns[edges].max()
    return returns


def deviations(graph: StateGraph, returns: FloatArray) -> FloatArray:
    """Standard deviation of each objective's returns between the options of one state."""
    total, degrees = np.zeros(returns.shape[1]), 0
    for state in range(len(graph.states)):
        own = returns[graph.first[state] : graph.first[state + 1]] if state != END else returns[:0]
        if len(own) > 1:
            total += ((own - own.mean(axis=0)) ** 2).sum(axis=0)
            degrees += len(own) - 1
    return np.sqrt(total / degrees)


def play(graph: StateGraph, policy: FloatArray, episodes: int, seed: int) -> list[tuple[int, int]]:
    """States and the options taken in them."""
    random = np.random.default_rng(seed)
    visited: list[tuple[int, int]] = []
    for _ in range(episodes):
        state = graph.start
        while state != END:
            first, last = int(graph.first[state]), int(graph.first[state + 1])
            action = int(random.choice(last - first, p=policy[first:last]))
            visited.append((state, action))
            state = int(graph.target[first + action])
    return visited


def infer(
    graph: StateGraph, visited: list[tuple[int, int]], values: FloatArray, scales: FloatArray, seed: int
) -> pl.WeightPosterior:
    """Weights from choices, with these values of the options."""
    choices: list[pl.Choice] = []
    for state, action in visited:
        own = values[graph.first[state] : graph.first[state + 1]].tolist()
        if len(own) > 1:
            decision = graph.decisions[graph.decision_of[state]]
            named = tuple(dict(zip(OBJECTIVES, row, strict=True)) for row in own)
            choices.append(pl.Choice(pl.Question(decision, named), action))
    units = dict(zip(OBJECTIVES, scales.tolist(), strict=True))
    return pl.infer_weights(choices, scales=units, lapse=0.0, seed=seed)


def table(settings: Settings, rows: list[dict[str, Any]], models: dict[str, ValueAudit]) -> str:
    """The results as Markdown."""
    lines = ["# Audits", "", "## Weights that agents act by", ""]
    lines.append(
        f"Agents planned (not trained) for {settings.steps + 1} weightings of score and harm avoidance, "
        f"{settings.seeds} seeds, {settings.episodes} episodes each, decisiveness {settings.decisiveness:g}. "
        "Coverage is that of the weightings between 0 and 1; a central interval never holds an end."
    )
    lines += ["", "| story | values of options | mean error | 90 % intervals hold the truth (95 %) | width |"]
    lines.append("|---|---|---:|---:|---:|")
    for story in (*settings.stories, "all"):
        for grounding in ("own continuation", "best returns"):
            own = [r for r in rows if r["grounding"] == grounding and story in ("all", r["story"])]
            between = [r["holds"] for r in own if 0 < r["weight"] < 1]
            held = sum(between)
            low, high = wilson(held, len(between))
            error = np.mean([abs(r["mean"] - r["weight"]) for r in own])
            width = np.mean([r["high"] - r["low"] for r in own])
            share = f"{100 * held / len(between):.0f} % ({100 * low:.0f} to {100 * high:.0f})"
            lines.append(f"| {story.replace('_', ' ')} | {grounding} | {error:.3f} | {share} | {width:.2f} |")
    for reading, audit in models.items():
        lines += ["", f"## {settings.model} by {reading}", ""]
        lines.append(describe_gate(audit.consistency, settings.model, audit.config.least_agreement))
        told = [f"- {line}" for line in describe_preferences(audit)]
        lines += ["", *told] if told else []
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    run(tyro.cli(Settings))
