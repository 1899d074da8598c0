"""Stages of the experiment on a story: agents per theory and their sweeps, and agents from planted errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from console import say

from ethical_theories_lib.adaptation import adapt, labelled_pairs
from ethical_theories_lib.agents import (
    AgentSettings,
    Table,
    differing_decisions,
    judged,
    label_steps,
    metrics,
    most_different,
    rank_correlation,
    sweep,
    train_agent,
)
from ethical_theories_lib.games import STORIES, LabelGame, oracle_trajectories, scenes_of
from ethical_theories_lib.labels import option_values, read_rewards, value_table
from ethical_theories_lib.noise import ACCURACIES, accuracy_of, planted_values
from ethical_theories_lib.words import FORMS
from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import Objective, Policy, Trajectory, UniformPolicy
from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json
from pluralign.core.records import read_trajectories
from pluralign.games.state_graph import StateGraph, explore
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.options.features import FeatureSource
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.options.open import Models

LINE, SIMPLEX = 10, 4
"""Steps of the grid between a theory and score, and of the grid on the simplex of four agents."""
DECISIONS = 20
COINS = "coin flips"
"""Name of the agent that learned from labels by coin flips."""


@dataclass
class StoryRun:
    """A story on which agents are trained.

    Args:
        out: Working folder.
        game: The story.
        models: Language model that plays, and its features.
        settings: Settings of the agents.
        rater_seeds: Seeds of the raters' trainings.
    """

    out: Path
    game: LabelGame
    models: Models
    settings: AgentSettings
    rater_seeds: tuple[int, ...] = (0,)

    @cached_property
    def graph(self) -> StateGraph:
        """All states of the story."""
        return explore(self.game.story.make_game())

    @cached_property
    def known(self) -> list[Trajectory]:
        """Every option with its own labels."""
        return oracle_trajectories(self.graph)

    @cached_property
    def objectives(self) -> list[Objective]:
        """Score and harm avoidance."""
        return [self.game.story.info.objective(name) for name in ("score", "harm_avoidance")]

    def language_model(self) -> Policy:
        """The language model as a player."""
        return LanguageModelPolicy(self.models.language_model, self.models.store, temperature=1.0)

    def episodes(self, seed: int, count: int) -> list[Trajectory]:
        """The language model's episodes, the first ones of a file that grows."""
        path = self.out / "play" / f"{self.game.name}-{seed}.jsonl"
        chooser = PolicyChooser(self.language_model())
        make_game = self.game.story.make_game
        if not path.exists() or len(read_trajectories(path)) < count:
            collect(
                make_game,
                chooser,
                path,
                episodes=count,
                seed=seed,
                objectives=self.objectives,
                progress=False,
            )
            self.models.store.flush()
        return read_trajectories(path)[:count]

    def rater_seed(self, seed: int) -> int:
        """The training of the raters from which the agents of this seed of the data learn: seeds of the data
        count from 1, and each has the next training, so that agents of several seeds differ by both."""
        return self.rater_seeds[(seed - 1) % len(self.rater_seeds)]

    def values(self, rater: str, form: str, seed: int) -> Table:
        """Values of the options of the story by a rater's training of this seed."""
        rewards = read_rewards(self.out, rater, seed)
        return value_table(option_values(self.game, FORMS[rater][form], rewards))


def learn_story(story: StoryRun, forms: Mapping[str, str]) -> None:
    """Train and mix the agents of a story, for each seed of the data; finished seeds are kept.

    Args:
        story: The story.
        forms: Form in which each theory's rater reads the options of this story.
    """
    for seed in range(1, story.settings.seeds + 1):
        path = story.out / "agents" / f"{story.game.name}-{seed}.json"
        if path.exists() and read_json(path)["rater seed"] == story.rater_seed(seed):
            continue
        played = story.episodes(seed, story.settings.episodes)
        folder = story.out / "policies" / f"{story.game.name}-{seed}"
        store: FeatureSource = story.models.store
        agents: dict[str, Policy] = {
            o.name: train_agent(played, o, store, folder / o.name, story.settings, seed)
            for o in story.objectives
        }
        accuracies: dict[str, float] = {}
        for theory in forms:
            values = story.values(theory, forms[theory], story.rater_seed(seed))
            accuracies[theory] = accuracy_of(values, story.known, story.objectives[1])
            own = folder / f"{theory}-{story.rater_seed(seed)}"
            labelled = label_steps(played, theory, values)
            agents[theory] = train_agent(labelled, judged(theory), store, own, story.settings, seed)
        # The control: labels that say nothing. Away from score, violations fall without any theory, too.
        coins = planted_values(story.known, story.objectives[1], 0.5, seed)
        labelled = label_steps(played, "coins", coins)
        agents[COINS] = train_agent(labelled, judged("coins"), store, folder / "coins", story.settings, seed)
        cloning = BCConfig(steps=story.settings.bc_steps)
        cloned = fit_bc(played, store=store, out=folder / "bc", config=cloning, seed=seed)
        others = {"random": UniformPolicy(), "language model": story.language_model(), "BC": cloned}
        figures = {
            "rater seed": story.rater_seed(seed),
            "accuracy": accuracies,
            "alone": {n: metrics(story.graph, p, story.objectives) for n, p in {**others, **agents}.items()},
            **mixtures(story, agents, list(forms)),
        }
        write_json(path, figures)
        say(f"  {story.game.name}, seed {seed}: " + violations_of(figures))


def violations_of(figures: Mapping[str, Any]) -> str:
    """Violations of every player, in one line."""
    return ", ".join(f"{name} {row['violations']:.1f}" for name, row in figures["alone"].items())


def mixtures(story: StoryRun, agents: Mapping[str, Policy], theories: Sequence[str]) -> dict[str, Any]:
    """Sweeps between each theory's agent and score, the sweep on the simplex, and decisions that differ."""
    lines: dict[str, Any] = {}
    for name in [*theories, "harm_avoidance", COINS]:
        pair = {name: agents[name], "score": agents["score"]}
        points = sweep(story.graph, pair, story.objectives, LINE)
        lines[name] = {"points": points, "spearman": rank_correlation(points, name)}
    corner = [*theories[:3], "score"]
    found: dict[str, Any] = {"lines": lines}
    if len(corner) == 4:
        points = sweep(story.graph, {n: agents[n] for n in corner}, story.objectives, SIMPLEX)
        found["simplex"] = {
            "points": points,
            "spearman of the weight on score": rank_correlation(points, "score"),
        }
    if len(theories) > 1:
        pair = most_different(story.graph, agents, theories)
        found["differing"] = {
            "theories": list(pair), "decisions": differing_decisions(story.graph, agents, pair, DECISIONS),
        }  # fmt: skip
    return found


def learn_from_noise(story: StoryRun, sizes: Sequence[int], forms: Mapping[str, str]) -> None:
    """Agents for harm avoidance from labels with planted errors, and from the labels of the raters' first
    trainings.

    Args:
        story: The story.
        sizes: Numbers of episodes.
        forms: Form in which each rater reads the options of this story.
    """
    path = story.out / "noise" / f"{story.game.name}.json"
    rows: list[dict[str, Any]] = read_json(path)["rows"] if path.exists() else []
    first = story.rater_seeds[0]
    done = {(row["rater"], row["rater seed"], row["episodes"], row["seed"]) for row in rows}
    harm = story.objectives[1]
    bounds = metrics(story.graph, UniformPolicy(), story.objectives)["violations"]
    for seed in range(1, story.settings.seeds + 1):
        planted = {f"planted {a:.0%}": planted_values(story.known, harm, a, seed) for a in ACCURACIES}
        real = {rater: story.values(rater, form, first) for rater, form in forms.items()}
        for size in sizes:
            for name, values in {**planted, **real}.items():
                training = first if name in real else None
                if (name, training, size, seed) in done:
                    continue
                played = story.episodes(seed, max(sizes))[:size]
                own = name if training is None else f"{name}-{training}"
                folder = story.out / "noise-policies" / f"{story.game.name}-{own}-{size}-{seed}"
                labelled = label_steps(played, "noise", values)
                agent = train_agent(
                    labelled, judged("noise"), story.models.store, folder, story.settings, seed
                )
                found = metrics(story.graph, agent, story.objectives)
                rows.append(
                    {
                        "rater": name, "rater seed": training, "episodes": size, "seed": seed,
                        "random": bounds, "accuracy": accuracy_of(values, story.known, harm), **found,
                    }
                )  # fmt: skip
                write_json(path, {"rows": rows})
        say(f"  {story.game.name}, seed {seed}: agents from planted errors")


def adapt_all(
    out: Path, games: Mapping[str, LabelGame], raters: Sequence[str], seed: int, store: FeatureSource
) -> dict[str, Any]:
    """Adaptation of each rater to the stories (see `adaptation.adapt`), and of frozen features alone."""
    harm = games[STORIES[0]].story.info.objective("harm_avoidance")
    graphs = {name: explore(games[name].story.make_game()) for name in STORIES}
    pairs = {name: labelled_pairs(oracle_trajectories(graph), harm) for name, graph in graphs.items()}
    frozen, scenes = _frozen(games, store), scenes_of(list(games.values()))
    lengths = {
        d.key: np.array([[float(len(option))] for option in d.options])
        for name in STORIES
        for d in games[name].decisions
    }
    found: dict[str, Any] = {"labelled pairs": {name: len(own) for name, own in pairs.items()}}
    everything: dict[str, list[FloatArray]] = {}
    for rater in raters:
        own = _scores(out, games, rater, seed)
        found[rater] = {"forms weighted": adapt(pairs, own, lengths, scenes, seed)}
        for key, columns in own.items():
            everything.setdefault(key, []).append(columns)
    joined = {key: np.concatenate(columns, axis=1) for key, columns in everything.items()}
    found["all raters"] = {"forms weighted": adapt(pairs, joined, lengths, scenes, seed)}
    found["length"] = {"alone": adapt(pairs, lengths, lengths, scenes, seed)}
    found["frozen features"] = {"alone": adapt(pairs, frozen, lengths, scenes, seed)}
    both = {key: np.concatenate([joined[key], frozen[key]], axis=1) for key in joined}
    found["all raters and frozen features"] = {"together": adapt(pairs, both, lengths, scenes, seed)}
    return found


def _scores(out: Path, games: Mapping[str, LabelGame], rater: str, seed: int) -> dict[str, FloatArray]:
    """A rater's values of options in all forms: shares of rivals beaten, since rewards have heavy tails."""
    rewards = read_rewards(out, rater, seed)
    columns: dict[str, list[FloatArray]] = {}
    for name in STORIES:
        for form in FORMS[rater].values():
            for key, values in value_table(option_values(games[name], form, rewards)).items():
                columns.setdefault(key, []).append(values)
    return {key: np.array(own, dtype=np.float64).T for key, own in columns.items()}


def _frozen(games: Mapping[str, LabelGame], store: FeatureSource) -> dict[str, FloatArray]:
    decisions = [decision for name in STORIES for decision in games[name].decisions]
    return {
        decision.key: np.asarray(entry.features, dtype=np.float64)
        for decision, entry in zip(decisions, store.get(decisions), strict=True)
    }
