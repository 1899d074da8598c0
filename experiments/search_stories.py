"""Search over saved states of the stories under a budget, with values learned from 30 random episodes.

    python experiments/search_stories.py

For each story and training seed, episodes of random play teach values of score and harm avoidance on frozen
features of SmolLM2-135M, by an agent of each objective or by one model of any weights (as in
offline_q_stories.py, whose agents and features are used again). Searches with several methods and budgets
look for the best whole play, both objectives weighing the same; parallel random plays are the baseline. Exact
values with independent noise show what bad values do. Every result is a file in ``--out``, and an interrupted
run continues.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import over_runs
from console import say, write_page, wrote
from offline_q_lib.agents import ANY, OBJECTIVES, Story, learn_agents

import pluralign as pl
from pluralign.collect.chooser import PolicyChooser
from pluralign.core.files import read_json, write_json
from pluralign.games.choicescript.load import list_stories
from pluralign.learn.options.q import QConfig
from pluralign.options.open import Models
from pluralign.steer.search.orders import Bavt, Beam, Order
from pluralign.steer.search.play import search_play
from pluralign.steer.search.tree import Node, SearchTree
from pluralign.steer.search.values import ExactValues, LearnedValues, PlayValues

RESULTS = Path(__file__).parent / "results"
WEIGHTS = pl.SteeringWeights(dict.fromkeys(OBJECTIVES, 0.5))
AGENTS = "pessimistic"
"""The way to learn with an agent of each objective: the default of `learn q`."""
NOISES = {"exact, noise 0.1": 0.1, "exact, noise 0.3": 0.3}
"""Deviation of independent noise on exact values, in scales."""
NO_LIMIT = 10_000
"""Budget of beams of a fixed width, which end by themselves."""
Row = dict[str, Any]
Method = str | Callable[[np.random.Generator], Order]


def _beam(width: int, rng: np.random.Generator) -> Order:
    return Beam(width)


def _turned(rng: np.random.Generator) -> Order:
    return Bavt(rng, exponent=lambda r: r)


def _followed(tree: SearchTree) -> Node | None:
    """The play of the steered policy's most likely options, without any search."""
    return None if tree.plays else max(tree.open.values(), key=lambda node: node.depth)


METHODS: dict[str, tuple[Method, tuple[int, ...]]] = {
    "steered policy": (lambda rng: _followed, (NO_LIMIT,)),
    "parallel": ("parallel", (100, 400)),
    "one-step lookahead": (partial(_beam, 1), (NO_LIMIT,)),
    "bavt": ("bavt", (100, 400)),
    "bavt, V^r": (_turned, (100, 400)),
    "ved": ("ved", (100, 400)),
    "best-first": ("best-first", (100, 400)),
    "beam": ("beam", (75, 100, 150, 300, 400)),
    "beam of 2": (partial(_beam, 2), (NO_LIMIT,)),
    "beam of 4": (partial(_beam, 4), (NO_LIMIT,)),
}
"""Methods with their budgets. The steered policy takes its most likely options; one-step lookahead is a beam
of 1."""
FIGURES = ("worth", "calls", "completion", "completed")
DRAWS = ("parallel", "bavt", "bavt, V^r")
"""Methods that are run with several search seeds."""


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder.
        agents: Folder of the agents, shared with offline_q_stories.py.
        features: Folder that keeps the features between runs.
        model: Frozen trunk.
        seeds: Number of seeds of play, of training and of noise, counted from 1.
        searches: Number of search seeds of methods that draw.
        stories: Names of the stories.
        episodes: Number of random episodes.
        values: Values: agents of one objective each, one model of any weights, or exact ones with noise.
        steps: Number of optimizer steps of an agent; a model of any weights gets twice as many.
        results: Folder of the result files.
    """

    out: Path = Path("runs/search_stories")
    agents: Path = Path("runs/offline_q/agents")
    features: Path = Path("runs/stories/features")
    model: str = "smollm2-135m"
    seeds: int = 3
    searches: int = 5
    stories: tuple[str, ...] = tuple(list_stories())
    episodes: int = 30
    values: tuple[str, ...] = (*NOISES, AGENTS, ANY)
    steps: int = QConfig.steps
    results: Path = RESULTS


class Noisy:
    """Other values with independent noise on every option of every state.

    Args:
        values: The other values.
        deviation: Standard deviation of the noise, in scales.
        seed: Random seed.
    """

    def __init__(self, values: ExactValues, deviation: float, seed: int) -> None:
        self._values, self._deviation = values, deviation
        self.scales, self.digest = values.scales, f"{values.digest} {deviation} {seed}"
        self._rng = np.random.default_rng(seed)
        self._known: dict[Hashable, Any] = {}

    def rests(self, decision: pl.Decision, state: Hashable, weights: pl.SteeringWeights) -> Any:
        """See `PlayValues.rests`."""
        if state not in self._known:
            noise = self._deviation * self._rng.normal(size=len(decision.options))
            self._known[state] = self._values.rests(decision, state, weights) + noise
        return self._known[state]


def values_of(story: Story, name: str, seed: int, settings: Settings) -> PlayValues:
    """The values of one name and seed; what is learned already is read."""
    if name in NOISES:
        return Noisy(ExactValues(story.graph, story.objectives), NOISES[name], seed)
    played, _ = story.played(PolicyChooser(pl.UniformPolicy()), settings.episodes, seed)
    store = Models(settings.model, settings.features).store
    return LearnedValues(learn_agents(story, name, played, seed, settings.agents, store, settings.steps))


def measure(story: Story, values: PlayValues, seed: int, settings: Settings) -> list[Row]:
    """Search with every method and budget; search seeds differ between seeds of training."""
    searches = range(settings.searches * seed, settings.searches * (seed + 1))
    worst, best = ExactValues(story.graph, story.objectives, values.scales).attainable(WEIGHTS)
    rows: list[Row] = []
    for name, (method, budgets) in METHODS.items():
        for budget in budgets:
            found = [
                search_play(
                    story.game.make_game(), values, WEIGHTS, budget=budget, method=method, seed=number
                )
                for number in (searches if name in DRAWS else searches[:1])
            ]
            rows.append(
                {
                    "method": name, "budget": budget,
                    "worth": float(np.mean([(play.total - worst) / (best - worst) for play in found])),
                    "calls": float(np.mean([play.calls for play in found])),
                    "completion": float(np.mean([play.completion for play in found])),
                    "completed": float(np.mean([play.completion > 0 for play in found])),
                    "returns": {
                        one: float(np.mean([play.trajectory.returns()[one] for play in found]))
                        for one in OBJECTIVES
                    },
                }
            )  # fmt: skip
    return rows


def run(settings: Settings) -> None:
    """Measure all values, seeds and stories, and write the tables as results come."""
    rows: list[Row] = []
    stories: dict[str, Story] = {}
    for values in settings.values:
        for seed in range(1, settings.seeds + 1):
            for name in settings.stories:
                path = settings.out / f"{values.replace(' ', '-')}-{name}-{seed}.json"
                if not path.exists():
                    say(f"{values}, {name}, seed {seed}")
                    story = stories.setdefault(name, Story(name))
                    write_json(path, measure(story, values_of(story, values, seed, settings), seed, settings))
                rows += [{"values": values, "story": name, "seed": seed, **row} for row in read_json(path)]
                write_results(rows, settings)
    wrote(settings.results / "search_stories.md", f"{len(rows)} rows")


def write_results(rows: Sequence[Row], settings: Settings) -> None:
    """``search_stories.json`` and ``search_stories.md``."""
    groups: defaultdict[tuple[str, str, int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["values"], row["method"], row["budget"], row["story"]].append(row)
    cells = [
        {
            "values": values, "method": method, "budget": None if budget == NO_LIMIT else budget,
            "story": story, "seeds": len(own),
            **{key: over_runs([row[key] for row in own]) for key in FIGURES},
            "returns": {name: over_runs([row["returns"][name] for row in own]) for name in OBJECTIVES},
        }
        for (values, method, budget, story), own in groups.items()
    ]  # fmt: skip
    write_json(settings.results / "search_stories.json", cells)
    lines = [
        "# Search over saved states of stories", "", "`python experiments/search_stories.py`", "",
        *textwrap.wrap(
            f"Weighted sum of score and harm avoidance (half and half, in the scales of the values) of the "
            f"best play found: 0 is the worst play, 1 the best. Means over {settings.seeds} seeds of random "
            f"play and training (of noise, where the values are exact), of {settings.searches} search seeds "
            f"each for methods that draw ({', '.join(DRAWS)}); 95 % intervals over the former. In brackets: "
            f"calls of the simulator, with those that completed a play beyond the budget. Learned values are "
            f"from {settings.episodes} random episodes and features of {Path(settings.model).name}.",
            100,
        ),
    ]  # fmt: skip
    for values in dict.fromkeys(row["values"] for row in rows):
        lines += ["", *_table(values, [cell for cell in cells if cell["values"] == values])]
    write_page(settings.results / "search_stories.md", lines)


def _table(values: str, cells: Sequence[Row]) -> Iterator[str]:
    stories = list(dict.fromkeys(cell["story"] for cell in cells))
    named = {AGENTS: "an agent of each objective", ANY: "one model of any weights"}.get(values, values)
    seeds = ", ".join(f"{story} {max(c['seeds'] for c in cells if c['story'] == story)}" for story in stories)
    yield f"## Values: {named}"
    yield ""
    yield f"Seeds: {seeds}."
    yield ""
    yield f"| method | budget | {' | '.join(stories)} |"
    yield "|---|---:|" + "---:|" * len(stories)
    known = {(cell["method"], cell["budget"], cell["story"]): cell for cell in cells}
    for method, budget in dict.fromkeys((cell["method"], cell["budget"]) for cell in cells):
        own = [known.get((method, budget, story)) for story in stories]
        yield f"| {method} | {budget or ''} | {' | '.join(map(_cell, own))} |"


def _cell(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    worth = cell["worth"]
    ends = f" ({worth['low']:.3f} to {worth['high']:.3f})" if "low" in worth else ""
    return f"{worth['mean']:.3f}{ends} [{cell['calls']['mean']:.0f}]"


if __name__ == "__main__":
    run(tyro.cli(Settings))
