"""Objective mismatch: whether the figures that a training watches go with the outcome that counts.

A lower loss or a higher accuracy does not have to mean a better policy (Lambert et al. 2020, "Objective
mismatch in model-based reinforcement learning", arXiv 2002.04523). Over several runs of one method, with
other settings, data or seeds, each figure of their cards is compared with their outcomes by rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.core.jsonl import read_rows
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.rank_correlation import Correlation, spearman
from pluralign.folders.card import load_card
from pluralign.games.choicescript.load import list_stories
from pluralign.games.exact_front import exact_returns
from pluralign.games.open import open_story
from pluralign.games.state_graph import explore
from pluralign.options.open import Models, open_trained

LEAST = 4
"""Smallest number of runs of which ranks say anything."""
_LEFT_OUT = ("seconds", "step")


@dataclass(frozen=True)
class Mismatch:
    """Figures of runs compared with their outcomes.

    Args:
        runs: Folders of the runs.
        outcomes: Outcome of each run; higher is better.
        figures: Figures that all runs have and that differ between them, by name.
        correlations: Spearman's rank correlation of each figure and the outcomes, with a 95 % interval over
            runs. A loss that says what it should has a negative one.
        constant: Names of figures that are the same in all runs.
    """

    runs: tuple[str, ...]
    outcomes: tuple[float, ...]
    figures: Mapping[str, tuple[float, ...]]
    correlations: Mapping[str, Correlation]
    constant: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All figures as a JSON object."""
        return asdict(self)

    def save(self, folder: str | Path, figures: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write mismatch.json, with more figures before these, and mismatch.svg; return all figures."""
        found = {**(figures or {}), **self.to_json()}
        write_json(Path(folder) / "mismatch.json", found)
        self.draw(Path(folder) / "mismatch.svg")
        return found

    def draw(self, path: str | Path) -> Path:
        """Draw outcomes against each figure, and return the path of the SVG or PNG file.

        Raises:
            InputError: The file cannot be written.
        """
        from pluralign.evaluate.pictures.mismatch import draw_mismatch

        draw_mismatch(self.outcomes, self.figures, self.correlations, Path(path))
        return Path(path)


def find_mismatch(outcomes: Mapping[str | Path, float]) -> Mismatch:
    """Compare the figures in the cards of trained folders with the folders' outcomes.

    Figures are the numbers of a card, those of its nested figures (``belief.score``), and the last row of its
    training curve (``curve.loss``); durations are left out. Runs of one method on one task are comparable; of
    several tasks, ranks would compare the tasks.

    Args:
        outcomes: Outcome of each folder, such as the exact return of its policy; higher is better.

    Returns:
        Rank correlations of every figure that all folders have.

    Raises:
        InputError: There are fewer than four folders, an outcome is not finite, all outcomes are equal, the
            methods differ, a folder has no card, or they have no figure in common that differs between them.

    Examples:
        >>> from pluralign.evaluate.mismatch import find_mismatch
        >>> find_mismatch({"runs/one": 1.0})
        Traceback (most recent call last):
        pluralign.core.errors.InputError: field 'runs': expected four runs or more, found 1
    """
    if len(outcomes) < LEAST:
        raise InputError(f"expected four runs or more, found {len(outcomes)}", field="runs")
    folders = [Path(folder) for folder in outcomes]
    values = tuple(float(value) for value in outcomes.values())
    for folder, value in zip(folders, values, strict=True):
        if not math.isfinite(value):
            raise InputError(f"expected a finite outcome, found {value}", path=folder)
    if len(set(values)) == 1:
        raise InputError(f"all {len(values)} runs have the outcome {values[0]:g}", field="outcomes")
    cards = [load_card(folder) for folder in folders]
    methods = sorted({card.method for card in cards})
    if len(methods) > 1:
        raise InputError(f"expected runs of one method, found {', '.join(methods)}", field="runs")
    watched = [_watched(card.figures) for card in cards]
    common = [name for name in watched[0] if all(name in other for other in watched)]
    if not common:
        raise InputError("the runs' cards have no figure in common", field="runs")
    columns = {name: tuple(own[name] for own in watched) for name in common}
    varied = {name: column for name, column in columns.items() if len(set(column)) > 1}
    if not varied:
        raise InputError(f"all figures of the {len(cards)} runs are the same", field="runs")
    return Mismatch(
        tuple(map(str, folders)), values, varied,
        {name: spearman(column, values) for name, column in varied.items()},
        tuple(name for name in columns if name not in varied),
    )  # fmt: skip


def story_returns(
    runs: Sequence[str | Path], story: str, objective: str = "", *, models: Models | None = None,
    episodes: int = 300, seed: int = 0,
) -> dict[str | Path, float]:  # fmt: skip
    """Return of each run's policy on a story, exact for built-in stories, or the mean over episodes.

    Args:
        runs: Folders of trained policies.
        story: Name of a built-in story, or path of any game.
        objective: Objective; by default that of the policies' cards.
        models: Language model and features, used if they match the policies' own.
        episodes: Number of episodes on a story that is not built in.
        seed: Random seed of the episodes.

    Raises:
        InputError: A run occurs twice or has no card, the cards name several objectives or none, or the story
            does not have the objective.

    Examples:
        >>> import pluralign as pl
        >>> game, models = pl.open_story("salt_ledger"), pl.Models("tiny-random")
        >>> goals, random = game.info.select(["score"]), pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=goals))
        >>> for steps in (1, 2):
        ...     config = pl.learn.BCConfig(steps=steps)
        ...     _ = pl.fit_bc(played, store=models.store, out=f"bc{steps}", config=config)
        >>> found = pl.evaluate.story_returns(["bc1", "bc2"], "salt_ledger", "score", models=models)
        >>> list(found)
        ['bc1', 'bc2']
    """
    if len({str(run) for run in runs}) < len(runs):
        raise InputError("a run occurs twice", field="runs")
    if not objective:
        known = sorted({load_card(Path(run)).objective for run in runs})
        if len(known) != 1:
            raise InputError(
                f"the runs have the objectives {', '.join(name or 'none' for name in known)}; give one",
                field="objective",
            )
        if not (objective := known[0]):
            raise InputError("the runs' cards name no objective; give one", field="objective")
    game, models = open_story(story), models or Models()
    (wanted,) = game.info.select((objective,))
    graph = explore(game.make_game()) if story in list_stories() else None
    found: dict[str | Path, float] = {}
    for run in runs:
        policy = open_trained(Path(run), models)
        if graph is not None:
            found[run] = exact_returns(graph, policy, [wanted]).objectives[objective]
        else:
            played = evaluate_policy(
                game.make_game, policy, episodes=episodes, seed=seed, objectives=[wanted]
            )
            found[run] = played.returns[objective].mean
    return found


def read_outcomes(path: str | Path) -> dict[str | Path, float]:
    """Outcomes of runs from JSON lines with the fields ``run`` (a folder) and ``outcome`` (a number).

    Raises:
        InputError: A field is missing, or a run occurs twice; the error names the row.
    """
    found: dict[str | Path, float] = {}
    for row in read_rows(path):
        run = row.get("run", str)
        if run in found:
            raise row.fail("run", f"{run!r} occurs twice")
        found[run] = row.finite("outcome")
    return found


def _watched(figures: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """All finite numbers of a card's figures by name; of a curve, those of its last row."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        if key in _LEFT_OUT:
            continue
        name = f"{before}{key}"
        if isinstance(value, bool):
            continue
        if isinstance(value, int | float):
            if math.isfinite(value):
                found[name] = float(value)
        elif isinstance(value, Mapping):
            found |= _watched(cast("Mapping[str, Any]", value), f"{name}.")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            rows = cast("Sequence[Any]", value)
            if rows and isinstance(rows[-1], Mapping):
                found |= _watched(cast("Mapping[str, Any]", rows[-1]), f"{name}.")
    return found
