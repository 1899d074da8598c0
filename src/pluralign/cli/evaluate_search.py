"""``pluralign evaluate search``: values x weights x budgets -> the best plays that searches find."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import Figures, named_folders, say, say_table, wrote
from pluralign.core import InputError
from pluralign.games.open import open_story
from pluralign.options.open import Models, open_values
from pluralign.steer.suggest import constant_weights


def evaluate_search(
    story: str,
    values: tuple[str, ...],
    weights: str,
    out: Path,
    budgets: tuple[int, ...] = (75, 150, 300),
    methods: tuple[str, ...] = ("beam", "bavt", "parallel"),
    seeds: int = 5,
    seed: int = 0,
    max_steps: int = 200,
    features: Path | None = None,
) -> Figures:
    """Search a story for good plays, steered by learned values under weights, with several budgets.

    A search goes back to saved states of the game and costs steps of its simulator. Methods: beam,
    best-first, bavt (budget-aware value tree search), ved (value-guided expansion), and parallel, the best of
    random plays. The plays are trajectories that learn bc, cpl (by annotate and pair) and q take. An
    interrupted run continues.

    Example: pluralign evaluate search --story salt_ledger --values runs/q
    --weights score=0.5,harm_avoidance=0.5 --methods beam bavt parallel --out runs/search

    Args:
        story: Name of a built-in story, or path of any game that can save its state (docs/other_games.md).
        values: Folder of a model of any weights (learn q); or the agent of each objective, as NAME=DIR; or
            exact, the values of a story whose states can be explored.
        weights: Weights as NAME=NUMBER,NAME=NUMBER: non-negative, summing to one; or
            wish:DIAL:NAME=NUMBER,... by a calibrated dial.
        out: Folder for search.json, search.md, search.svg and trajectories.jsonl.
        budgets: Numbers of steps of the simulator.
        methods: Methods: beam, best-first, bavt, ved, parallel.
        seeds: Number of seeds of methods that draw (bavt, parallel).
        seed: The first seed.
        max_steps: Number of steps after which a play is cut off.
        features: Folder that keeps a language model's features between runs.
    """
    # Help needs no model.
    from pluralign.evaluate.search import EXACT, FILE, compare_searches

    game, mix = open_story(story), constant_weights(weights)
    named = [entry for entry in values if "=" in entry]
    if not values or (len(named) < len(values) and len(values) > 1):
        raise InputError(f"expected one folder, NAME=DIR entries, or {EXACT}", field="values")
    models = Models(features=features)
    given = named_folders(values, "values") if named else Path(next(iter(values)))
    opened = EXACT if values == (EXACT,) else open_values(given, models)
    if game.info.random:
        say(f"{story} draws random numbers: a search sees those of its seed before it chooses")
    found = compare_searches(
        game, opened, mix, budgets=budgets, methods=methods, seeds=seeds, seed=seed, max_steps=max_steps,
        folder=out, say=say,
    )  # fmt: skip
    say(f"{story}, {mix.to_text()}: the best play found, with 95 % intervals where a method draws")
    say_table(found.columns, found.table())
    if found.note:
        say(found.note)
    folder = found.save(out)
    wrote(folder / "search.json", "the figures")
    wrote(folder / "search.md", "the table")
    wrote(folder / "search.svg", "the picture")
    wrote(folder / FILE, "the plays")
    return found.to_json()
