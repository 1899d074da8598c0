"""Searches of a story under several budgets: what the best play found is worth, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.collect.collector import KIND, trajectories_header
from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import checked, require_at_least, require_seed
from pluralign.core.files import require_free, write_json, write_text
from pluralign.core.progress import ProgressBar
from pluralign.core.records import RecordWriter, continues, read_trajectories
from pluralign.evaluate.report.summary import walk
from pluralign.evaluate.statistics import estimate
from pluralign.games.exact_front import exact_front
from pluralign.games.game import Story
from pluralign.games.state_graph import StateGraph
from pluralign.options.values import ValuePolicy
from pluralign.steer.search.orders import RANDOM
from pluralign.steer.search.play import MAX_STEPS, METHODS, FoundPlay, player_name, search_play
from pluralign.steer.search.values import ExactValues, PlayValues, as_values

EXACT = "exact"
"""Name of the values that dynamic programming computes."""
BUDGETS = (75, 150, 300)
FILE = "trajectories.jsonl"


@dataclass(frozen=True)
class SearchSide:
    """Plays that one method found with one budget.

    Args:
        method: Name of the method.
        budget: Number of calls of `Game.choose` that it may make.
        plays: Best play of each seed; one of a method that does not draw.
    """

    method: str
    budget: int
    plays: tuple[FoundPlay, ...]

    def figure(self, value: Callable[[FoundPlay], float]) -> dict[str, float | None]:
        """Mean over the seeds, with its 95 % interval if there are several."""
        found = [value(play) for play in self.plays]
        return estimate(found).to_json() if len(found) > 1 else {"mean": found[0]}


@dataclass(frozen=True, eq=False)
class SearchComparison:
    """Plays of a story that methods found with several budgets, under one weighting.

    Args:
        story: Name of the story.
        weights: Weights of the objectives.
        scales: Return of each objective that counts as 1 in weighted sums.
        sides: Plays by method and budget.
        attainable: Weighted sums of the worst and the best play; None if the states cannot be explored.
        front: Exact Pareto front, shape (points, objectives); None if the states cannot be explored.
        random: Whether the game draws random numbers, which a search sees before it chooses.
    """

    story: str
    weights: SteeringWeights
    scales: Mapping[str, float]
    sides: tuple[SearchSide, ...]
    attainable: tuple[float, float] | None = None
    front: npt.NDArray[np.float64] | None = None
    random: bool = False

    def worth(self, play: FoundPlay) -> float:
        """Weighted sum of a play: 0 for the worst play and 1 for the best if they are known."""
        if self.attainable is None:
            return play.total
        worst, best = self.attainable
        return (play.total - worst) / (best - worst) if best > worst else 1.0

    def rows(self) -> list[dict[str, Any]]:
        """Figures of each side."""
        return [
            {
                "method": side.method, "budget": side.budget, "seeds": len(side.plays),
                "worth": side.figure(self.worth),
                "calls": side.figure(lambda play: play.calls),
                "completion": side.figure(lambda play: play.completion),
                "returns": {
                    name: side.figure(lambda play, name=name: play.trajectory.returns()[name])
                    for name in self.scales
                },
                "cut_off": sum(play.trajectory.truncated for play in side.plays),
            }
            for side in self.sides
        ]  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values."""
        return {
            "story": self.story, "weights": dict(self.weights), "scales": dict(self.scales),
            "attainable": None if self.attainable is None else list(self.attainable),
            "front": None if self.front is None else self.front.tolist(),
            "random": self.random, "sides": self.rows(),
        }  # fmt: skip

    def table(self) -> dict[str, list[str]]:
        """Cells by row, for printing; `columns` are their names."""
        found: dict[str, list[str]] = {}
        for row in self.rows():
            returns = [_cell(figure, 1) for figure in row["returns"].values()]
            found[f"{row['method']}, {row['budget']}"] = [
                _cell(row["worth"], 3), f"{row['calls']['mean']:.0f}", f"{row['completion']['mean']:.1f}",
                f"{row['cut_off']} of {row['seeds']}", *returns,
            ]  # fmt: skip
        return found

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the table."""
        worth = "weighted sum" if self.attainable is None else "worth (1: best)"
        return [worth, "calls", "beyond budget", "cut off", *self.scales]

    @property
    def note(self) -> str:
        """Sentence about plays that did not reach an end; empty if all did."""
        cut = [play.trajectory.truncated for side in self.sides for play in side.plays]
        note = f"{sum(cut)} of {len(cut)} plays were cut off before an end; their figures stop there"
        return note if any(cut) else ""

    def save(self, folder: str | Path) -> Path:
        """Write search.json, search.md and search.svg, and return the folder.

        Raises:
            InputError: The folder cannot be written.
        """
        # Drawing needs matplotlib, which is slow to import.
        from pluralign.evaluate.pictures.search import draw_search

        folder = Path(folder)
        write_json(folder / "search.json", self.to_json())
        lines = [
            f"# Search on {self.story}, {self.weights.to_text()}", "",
            f"| method, budget | {' | '.join(self.columns)} |", "|---|" + "---:|" * len(self.columns),
            *(f"| {name} | {' | '.join(cells)} |" for name, cells in self.table().items()),
            "", self.note,
        ]  # fmt: skip
        write_text(folder / "search.md", "\n".join(lines).rstrip() + "\n")
        draw_search(
            self.rows(), self._returns(), folder / "search.svg", front=self.front,
            best_known=self.attainable is not None,
        )  # fmt: skip
        return folder

    def _returns(self) -> dict[str, dict[str, list[float]]]:
        """Returns of all plays, by method and objective."""
        found: dict[str, dict[str, list[float]]] = {}
        for side in self.sides:
            own = found.setdefault(side.method, {name: [] for name in self.scales})
            for play in side.plays:
                returns = play.trajectory.returns()
                for name, column in own.items():
                    column.append(returns[name])
        return found


@checked
def compare_searches(
    story: Story, values: PlayValues | ValuePolicy | Mapping[str, ValuePolicy] | str,
    weights: SteeringWeights, *, budgets: Sequence[int] = BUDGETS,
    methods: Sequence[str] = ("beam", "bavt", "parallel"), seeds: int = 5, seed: int = 0,
    max_steps: int = MAX_STEPS, folder: str | Path | None = None, say: Callable[[str], None] = print,
) -> SearchComparison:  # fmt: skip
    """Search a story with several methods and budgets (`search_play`).

    Args:
        story: Story.
        values: Values as `search_play` takes them; or "exact", those of the story's own states.
        weights: Weights of the objectives.
        budgets: Numbers of calls of `Game.choose`.
        methods: Names of methods.
        seeds: Number of seeds of methods that draw, and of all methods in games that draw random numbers.
        seed: The first of the seeds.
        max_steps: Number of steps after which a play is cut off.
        folder: Folder for the plays (trajectories.jsonl, as `collect` writes it), from which an interrupted
            comparison continues; None keeps none.
        say: Function that reports why there is no exact front.

    Raises:
        InputError: There are no budgets or methods, the story's states cannot be explored and the values are
            to be exact, the folder holds other files; or see `search_play`.

    Examples:
        >>> import pluralign as pl
        >>> weights = pl.SteeringWeights(score=0.5, harm_avoidance=0.5)
        >>> found = pl.compare_searches(pl.open_story("salt_ledger"), "exact", weights, budgets=[75], seeds=2)
        >>> [side.method for side in found.sides]
        ['beam', 'bavt', 'parallel']
        >>> round(found.worth(found.sides[0].plays[0]), 6)
        1.0
    """
    require_seed(seed)
    require_at_least(1, seeds=seeds)
    _check(budgets, methods)
    graph = walk(story.make_game(), say)
    known = _values(values, graph, story, weights)
    weights.require_known(list(known.scales))
    plans = [
        (method, budget, number)
        for method in methods
        for budget in budgets
        for number in range(seed, seed + (seeds if method in RANDOM or story.info.random else 1))
    ]
    objectives = story.info.select(list(known.scales))
    settings = {"weights": dict(weights), "values": known.digest}
    header = trajectories_header(
        story.make_game(), "search", settings, seed=seed, objectives=objectives, max_steps=max_steps
    )

    def find(method: str, budget: int, number: int) -> FoundPlay:
        return search_play(
            story.make_game(), known, weights, budget=budget, method=method, seed=number, max_steps=max_steps
        )

    found = _kept(plans, header, find, None if folder is None else Path(folder))
    sides = [
        SearchSide(
            method, budget, tuple(play for (m, b, _), play in found.items() if (m, b) == (method, budget))
        )
        for method, budget in dict.fromkeys((method, budget) for method, budget, _ in plans)
    ]
    exact = None if graph is None else ExactValues(graph, objectives, known.scales)
    return SearchComparison(
        story.info.name, weights, dict(known.scales), tuple(sides),
        None if exact is None else exact.attainable(weights),
        None if graph is None else exact_front(graph, objectives).points, story.info.random,
    )  # fmt: skip


Plan = tuple[str, int, int]


def _check(budgets: Sequence[int], methods: Sequence[str]) -> None:
    for name, given in (("budgets", budgets), ("methods", methods)):
        if not given or len(set(given)) < len(given):
            raise InputError(f"expected one or more different ones, found {list(given)}", field=name)
    require_at_least(1, budgets=min(budgets))
    if unknown := [method for method in methods if method not in METHODS]:
        raise InputError(f"must be of {', '.join(METHODS)}, found {unknown[0]!r}", field="methods")


def _values(
    values: PlayValues | ValuePolicy | Mapping[str, ValuePolicy] | str, graph: StateGraph | None,
    story: Story, weights: SteeringWeights,
) -> PlayValues:  # fmt: skip
    if isinstance(values, str):
        if values != EXACT:
            raise InputError(f"expected values or {EXACT!r}, found {values!r}", field="values")
        if graph is None:
            raise InputError("the states cannot be explored, so there are no exact values", field="values")
        return ExactValues(graph, story.info.select(list(weights)))
    return as_values(values)


def _kept(
    plans: Sequence[Plan], header: Mapping[str, Any], find: Callable[[str, int, int], FoundPlay],
    folder: Path | None,
) -> dict[Plan, FoundPlay]:  # fmt: skip
    """Plays of all plans; those that a folder has are read, and the others are written to it."""
    known: dict[str, FoundPlay] = {}
    path = None if folder is None else folder / FILE
    if folder is not None and path is not None:
        if not path.exists():
            require_free(folder)
        elif continues(path, KIND, header):
            known = {one.id: FoundPlay.of(one) for one in read_trajectories(path, drop_cut_off_line=True)}
    writer = None if path is None else RecordWriter(path, KIND, header)
    with writer or nullcontext(), ProgressBar(len(plans), "searches", unit="search") as bar:

        def found() -> Iterator[tuple[Plan, FoundPlay]]:
            for plan in plans:
                method, budget, number = plan
                play = known.get(f"{player_name(method, budget)}-{number}")
                if play is None:
                    play = find(method, budget, number)
                    if writer is not None:
                        writer.write(play.trajectory)
                bar.advance()
                yield plan, play

        return dict(found())


def _cell(figure: Mapping[str, float | None], digits: int) -> str:
    ends = "" if "low" not in figure else f" ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
    return f"{figure['mean']:.{digits}f}{ends}"
