"""A story: combinations, weightings that move, a target and a tail, with exact returns."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.collect.roll_out import roll_out
from pluralign.core import Decision, Objective, SteeringWeights
from pluralign.core.level import Level
from pluralign.core.pareto import hypervolume_ratio, rescale
from pluralign.folders.card import load_card
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.game import Game, GameInfo
from pluralign.games.open import open_story
from pluralign.games.state_graph import END, StateGraph, explore
from pluralign.learn.combination import Combine, Tail
from pluralign.learn.constraints import Constrained
from pluralign.learn.options.story_rl import fit_story_rl
from pluralign.learn.options.story_rounds import StoryRLConfig
from pluralign.learn.weighting import ByHypervolume, ByInfluence, Fixed, Weighting
from pluralign.losses.advantages import (
    advantage_combination,
    centred_sum,
    dvao,
    gdpo,
    reward_combination,
)
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy

Row = dict[str, Any]
NAMES = ("score", "harm_avoidance")
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
COMBINATIONS: dict[str, Combine] = {
    "weighted sum": centred_sum, "GRPO of the sum": reward_combination,
    "sum of standardised": advantage_combination, "GDPO": gdpo, "DVAO": dvao,
}  # fmt: skip
MOVING = {"by influence": ByInfluence, "by hypervolume": ByHypervolume}
PLAYS = 2000
TAILS = (
    ("mean", None, 0.1), ("mean", None, 0.07), ("mean", None, 0.05), ("worst fifth", Tail(0.2, 1.0), 0.1),
    ("worst fifth, best ignored", Tail(), 0.1),
)  # fmt: skip
PRICES, LEVELS = (0.1, 0.3), (-10.0, -6.0)


class GraphGame:
    """Play on the explored states of a story, which is faster than the story itself.

    Args:
        info: The story's.
        graph: Its states.
    """

    def __init__(self, info: GameInfo, graph: StateGraph) -> None:
        self.info, self._graph, self._here = info, graph, graph.start
        self.text = ""

    def reset(self, seed: int = 0) -> None:
        """Begin a new episode."""
        self._here = self._graph.start

    @property
    def decision(self) -> Decision | None:
        """The current decision; None at the end."""
        return None if self._here == END else self._graph.decisions[self._graph.decision_of[self._here]]

    def choose(self, action: int) -> Mapping[str, float]:
        """Take an option."""
        edge = self._graph.first[self._here] + action
        self._here = int(self._graph.target[edge])
        return self._graph.counts[self._graph.counts_of[edge]]

    def save(self) -> Hashable:
        """The state."""
        return self._here

    def restore(self, state: Any) -> None:
        """Return to a state."""
        self._here = state


class StoryRuns:
    """Policies of one story and seed.

    Args:
        story: Name of the story.
        store: Features of its decisions.
        config: Settings of all runs.
        seed: Random seed.
        out: Working folder.
    """

    def __init__(self, story: str, store: FeatureSource, config: StoryRLConfig, seed: int, out: Path) -> None:
        opened = open_story(story)
        self._info, self.graph = opened.info, explore(opened.make_game())
        self.objectives: list[Objective] = opened.info.select(NAMES)
        self._store, self._config, self._seed, self._out = store, config, seed, out
        self.front = exact_front(self.graph, self.objectives)

    def make_game(self) -> Game:
        """A game on the story's states."""
        return GraphGame(self._info, self.graph)

    def fit(
        self, name: str, weighting: Weighting, combine: Combine = centred_sum, **changes: Any
    ) -> OptionPolicy:
        """A policy; read if it exists."""
        return fit_story_rl(
            self.make_game, objectives=self.objectives, store=self._store, out=self._out / name,
            weighting=weighting, config=replace(self._config, **changes), combine=combine, seed=self._seed,
        )  # fmt: skip

    def card(self, name: str) -> Mapping[str, Any]:
        """Figures of a policy."""
        return load_card(self._out / name).figures

    def returns(self, policy: Any) -> list[float]:
        """Exact expected returns."""
        found = exact_returns(self.graph, policy, self.objectives).objectives
        return [found[name] for name in NAMES]

    def combinations(self) -> Iterator[Row]:
        """Share of the exact front's hypervolume of five policies, by combination and by moving weights."""
        ways: dict[str, tuple[Any, Combine]] = {name: (Fixed, own) for name, own in COMBINATIONS.items()}
        ways |= {name: (kind, centred_sum) for name, kind in MOVING.items()}
        for way, (kind, combine) in ways.items():
            points, kls, samples = [], [], 0
            for weight in WEIGHTS:
                name = f"{way.replace(' ', '_')}-{weight}"
                # What divides the divergence by its own deviation takes none, and so none is given to any.
                policy = self.fit(name, kind(_mix(weight)), combine, kl=0.0)
                points.append(self.returns(policy))
                last = self.card(name)["curve"][-1]
                kls.append(last["kl"])
                samples = last["samples"]
            scaled = rescale(points, self.front.worst, self.front.best)
            exact = rescale(self.front.points, self.front.worst, self.front.best)
            yield {
                "part": "story combinations", "way": way, "episodes": samples, "kl": float(np.mean(kls)),
                "volume": hypervolume_ratio(scaled, exact, [0.0, 0.0]), "points": points,
            }  # fmt: skip

    def target(self) -> Iterator[Row]:
        """Score alone, and score with a lowest level of harm avoidance, near random play or less near."""
        for kl, level in product(PRICES, (None, *LEVELS)):
            name, config = f"target-{kl}-{level}", {"kl": kl, "rounds": 2 * self._config.rounds}
            weighting: Weighting = Fixed(_mix(1.0))
            if level is not None:
                goal = {"harm_avoidance": Level(level)}
                weighting = Constrained(NAMES, at_least=goal, weights=_mix(1.0), rate=0.05)
            found = self.returns(self.fit(name, weighting, **config))
            figures = self.card(name)
            way = "no target" if level is None else f"at least {level:g}"
            yield {
                "part": "story target", "way": f"{way}, divergence times {kl:g}", "score": found[0],
                "harm_avoidance": found[1], "gap": None if level is None else found[1] - level,
                "multiplier": figures.get("multipliers", {}).get("harm_avoidance"),
                "kl": figures["kl"], "missed": figures.get("missed", {}),
            }  # fmt: skip

    def tails(self) -> Iterator[Row]:
        """Mean and worst fifth of weighted returns, of policies trained for the mean and for a tail."""
        for way, tail, kl in TAILS:
            name = f"tail-{way}-{kl}".replace(" ", "_")
            policy = self.fit(name, Fixed(_mix(0.5)), tail=tail, kl=kl)
            played = roll_out(
                self.make_game, policy, episodes=PLAYS, seed=self._seed + 100, objectives=self.objectives
            )
            scales = self.card(name)["curve"][0]["scales"]
            units = np.array([scales[n]["deviation"] for n in NAMES])
            table = np.array([[one.returns()[n] for n in NAMES] for one in played])
            score = np.sort((table / units).mean(axis=1))
            yield {
                "part": "story tails", "way": f"{way}, divergence times {kl:g}", "mean": float(score.mean()),
                "worst": float(score[: len(score) // 5].mean()), "kl": self.card(name)["kl"],
            }  # fmt: skip


def _mix(score: float) -> SteeringWeights:
    return SteeringWeights(score=score, harm_avoidance=1 - score)
