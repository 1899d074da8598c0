"""Sweeps on a story: evaluation of steered policies on a grid of weights, and of each policy alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import InputError, Policy, UniformPolicy
from pluralign.core.checks import checked, require_at_least
from pluralign.core.digests import file_digest
from pluralign.core.files import require_free
from pluralign.core.pareto import non_dominated, reference_point
from pluralign.core.records import read_trajectories
from pluralign.evaluate.hypervolume import estimate_hypervolume
from pluralign.evaluate.report.model import Kind, Report
from pluralign.evaluate.report.page import write_picture, write_report
from pluralign.evaluate.report.summary import make_report
from pluralign.evaluate.statistics import Estimate
from pluralign.evaluate.sweeps.fronts import reference_below
from pluralign.evaluate.sweeps.grids import weightings
from pluralign.evaluate.sweeps.stories import SweepPoint, play_weightings
from pluralign.folders.card import CARD
from pluralign.games.open import open_story
from pluralign.options.open import Models, load_agents
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered import steered
from pluralign.steer.steered_policy import SteeredPolicy


@dataclass(frozen=True, eq=False)
class StorySweep:
    """Result of a sweep on a story.

    Args:
        report: All measurements.
        points: Returns and harms of the steered policy under each weighting.
    """

    report: Report
    points: tuple[SweepPoint, ...]

    def __repr__(self) -> str:
        # A notebook would show the returns of all episodes.
        return f"<sweep of {len(self.points)} weightings, story {self.report.story}>"

    @property
    def front(self) -> list[SweepPoint]:
        """Points whose mean returns no other point dominates."""
        kept = non_dominated([[point.returns[name] for name in self._names] for point in self.points])
        return [point for point, on in zip(self.points, kept.tolist(), strict=True) if on]

    @property
    def hypervolume(self) -> Estimate:
        """Hypervolume of the mean returns, in the product of the objectives' units, with a 95 % interval over
        episodes. The reference point is the worst attainable return of each objective if the game's states
        could be explored; otherwise it lies 10 % of the range below the lowest mean return
        (`reference_below`)."""
        worst = [self.report.worst[name] for name in self._names] if self.report.worst else None
        means = np.array([[point.returns[name] for name in self._names] for point in self.points])
        reference = reference_below(means) if worst is None else reference_point(worst)
        return estimate_hypervolume([point.returns_array(self._names) for point in self.points], reference)

    @property
    def hypervolume_ratio(self) -> float | None:
        """Hypervolume divided by that of the exact front; None if the front is not known."""
        return self.report.hypervolume_ratio

    @property
    def _names(self) -> tuple[str, ...]:
        return self.report.objectives

    def save(self, folder: str | Path) -> Path:
        """Write report.json, report.html and picture.svg, and return the folder.

        Raises:
            InputError: The folder cannot be written.
        """
        write_report(self.report, folder)
        self.draw(Path(folder) / "picture.svg")
        return Path(folder)

    def draw(self, path: str | Path) -> Path:
        """Draw the sweep over the first two objectives as an SVG file, and return its path.

        Raises:
            InputError: The file cannot be written.
        """
        return write_picture(self.report, path)


@checked
def sweep_story(
    policies: Mapping[str, str | Path | Policy],
    story: str | Path,
    *,
    steps: int = 10,
    budget: int | None = None,
    dial: str | Path | None = None,
    power: float = GEOMETRIC,
    episodes: int = 300,
    seed: int = 0,
    models: Models | None = None,
    folder: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> StorySweep:
    """Steer policies with every weighting of a grid on a story, and compare them with each policy alone.

    Args:
        policies: Policy of each objective, or its folder; two or more.
        story: Name of a built-in story, or path of any game.
        steps: Number of steps of the grid: weights are multiples of 1/steps.
        budget: Number of weightings that fill the simplex (`steer.design.design`), instead of a grid.
        dial: Folder of a dial, whose predicted front is evaluated instead: ``budget`` weightings of it, by
            default 10. `predictions` compares what was predicted with what is found.
        power: Power of the mixture: 0 geometric, 1 arithmetic, -1 harmonic.
        episodes: Number of episodes for each weighting and each policy.
        seed: Random seed of the episodes.
        models: Language model and features of policies that are given as folders.
        folder: Folder for points and episodes, from which an interrupted sweep of the same policies
            continues: policies in folders are recognised by their cards, others by their names only. None
            keeps none.
        say: Function that reports why there is no exact front.

    Raises:
        InputError: There are fewer than two policies or episodes, the power is infinite, an objective is
            unknown, or the folder holds another sweep or other files.

    Examples:
        >>> import pluralign as pl
        >>> agents = {"score": pl.UniformPolicy(), "harm_avoidance": pl.UniformPolicy()}
        >>> found = pl.sweep_story(agents, "salt_ledger", steps=2, episodes=4)
        >>> len(found.points), 0 < found.hypervolume_ratio < 1
        (3, True)
    """
    require_at_least(0, seed=seed)
    require_at_least(2, episodes=episodes)
    if not math.isfinite(power):
        raise InputError(f"must be finite, found {power}", field="power")
    if len(policies) < 2:
        raise InputError(
            f"expected policies of two or more objectives, found {len(policies)}", field="policies"
        )
    grid = weightings(list(policies), steps, budget, dial)
    if len(grid) < 3 and dial is not None:
        raise InputError(f"predicts a front of {len(grid)} weightings; a sweep needs three", field="dial")
    if len(grid) < 3:
        raise InputError(f"must be 2 or more with two policies, found {steps}", field="steps")
    if folder is not None and not (Path(folder) / "sweep.jsonl").exists():
        require_free(folder)
    make_game = open_story(story).make_game
    info = make_game().info
    objectives = [info.objective(name) for name in policies]
    models = models or Models()
    opened = load_agents(policies, models)
    players: dict[str, Policy] = {"random": UniformPolicy(), **opened}
    cards = _cards(policies)
    kinds: dict[str, Kind] = {name: "random" if name == "random" else "learned" for name in players}
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        points = play_weightings(
            make_game, opened, grid, power=power, episodes=episodes, seed=seed,
            objectives=objectives, path=Path(place) / "sweep.jsonl", cards=cards,
        )  # fmt: skip
        files = {name: Path(place) / "play" / f"{name}.jsonl" for name in players}
        for name, player in players.items():
            chooser = PolicyChooser(player, more={"card": cards[name]} if name in cards else None)
            collect(
                make_game, chooser, files[name], episodes=episodes, seed=seed, objectives=objectives,
                progress=False,
            )  # fmt: skip
        played = {name: read_trajectories(file) for name, file in files.items()}
    size: dict[str, Any] = {} if budget is None else {"budget": budget}
    if dial is not None:
        size["dial"] = str(dial)
    size = size or {"steps": steps}
    report = make_report(
        make_game(), objectives, played=played, kinds=kinds, sweeps={power: points}, seconds=0.0, seed=seed,
        settings={**size, "power": power, "episodes": episodes}, say=say,
    )  # fmt: skip
    if not isinstance(steered(opened, grid[0], power), SteeredPolicy):
        report = replace(report, mixture="agents' values")
    return StorySweep(report, tuple(points))


def _cards(policies: Mapping[str, str | Path | Policy]) -> dict[str, str]:
    """Digests of the cards of the policies in folders, by objective."""
    places = {name: Path(own) / CARD for name, own in policies.items() if isinstance(own, str | Path)}
    return {name: file_digest(card) for name, card in places.items() if card.is_file()}
