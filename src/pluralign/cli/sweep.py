"""``pluralign sweep``: policies x weights grid -> report.json, report.html."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import JsonFile, game_maker, give_figures, objectives_of, say, wrote
from pluralign.cli.policies import parse_policies
from pluralign.cli.sweep_texts import TextSettings, sweep_texts
from pluralign.collect import PolicyChooser, collect
from pluralign.core import InputError, Policy, UniformPolicy, simplex_grid
from pluralign.core.records import read_trajectories
from pluralign.evaluate import sweep
from pluralign.evaluate.report import Kind, write_picture, write_report
from pluralign.evaluate.report.summary import make_report
from pluralign.options.open import Models, open_policy
from pluralign.steer import GEOMETRIC


def sweep_weights(
    policies: tuple[str, ...],
    out: Path,
    story: str | None = None,
    prompts: str | None = None,
    steps: int = 10,
    power: tuple[float, ...] = (GEOMETRIC,),
    episodes: int = 300,
    seed: int = 0,
    features: Path | None = None,
    json: JsonFile = None,
    texts: Annotated[TextSettings, tyro.conf.arg(name="")] = TextSettings(),  # noqa: B008 - frozen
) -> None:
    """Steer by every weighting of a grid, and report what it does: on a story, or in answers to prompts.

    Every policy's name is the objective that it was learned for. On a story the steered policy plays. To
    prompts it answers; reward models of the same names score the answers, and beside it stands what could
    be done instead: averaging the policies' weights, asking for the trade-off in words, and policies trained
    for one weighting. An interrupted run continues when the same command is given again.

    Example: pluralign sweep --policies score=runs/score harm_avoidance=runs/harm --story salt_ledger
    --out runs/sweep

    Example: pluralign sweep --policies helpful=runs/helpful harmless=runs/harmless --prompts prompts.jsonl
    --rewards helpful=runs/rm-helpful harmless=runs/rm-harmless --out runs/sweep

    Args:
        policies: NAME=DIR for each objective; the picture shows the first two.
        out: the folder to write.
        story: a built-in story's name, or any game's path (docs/other_games.md).
        prompts: a file of prompts, as `pluralign generate` takes them.
        steps: weights are multiples of 1/steps.
        power: of the mixture: 1 arithmetic, 0 geometric, -1 harmonic; to prompts, several.
        episodes: of a story for each weighting.
        seed: of the episodes or the answers.
        features: folder where a language model's features of a story are kept between runs.
        json: a file for the report's figures, too.
        texts: of sweeps over prompts.
    """
    folders = parse_policies(policies)
    if len(folders) < 2:
        raise InputError(f"expected two or more NAME=DIR, found {len(folders)}", field="policies")
    if (story is None) == (prompts is None):
        raise InputError("give either a story or prompts", field="story")
    if prompts is not None:
        figures = sweep_texts(folders, prompts, out, texts, steps=steps, powers=power, seed=seed)
        give_figures(figures, json)
    elif story is not None:
        if texts.rewards or texts.fixed:
            raise InputError("go with prompts; a story has rewards of its own", field="rewards")
        if len(power) != 1:
            raise InputError(f"a story's sweep takes one, found {len(power)}", field="power")
        _sweep_story(folders, story, out, steps, power[0], episodes, seed, features, json)


def _sweep_story(
    folders: dict[str, Path], story: str, out: Path, steps: int, power: float, episodes: int, seed: int,
    features: Path | None, json: Path | None,
) -> None:  # fmt: skip
    make_game = game_maker(story)
    objectives = objectives_of(make_game, tuple(folders))
    models = Models(features=features)
    opened = {name: open_policy(str(folder), models) for name, folder in folders.items()}
    points = sweep(
        make_game,
        opened,
        simplex_grid(list(folders), steps),
        power=power,
        episodes=episodes,
        seed=seed,
        objectives=objectives,
        path=out / "sweep.jsonl",
    )
    players: dict[str, Policy] = {"random": UniformPolicy(), **opened}
    kinds: dict[str, Kind] = {name: "random" if name == "random" else "learned" for name in players}
    for name, player in players.items():
        collect(
            make_game,
            PolicyChooser(player),
            out / "play" / f"{name}.jsonl",
            episodes=episodes,
            seed=seed,
            objectives=objectives,
            progress=False,
        )
    report = make_report(
        make_game(),
        objectives,
        played={name: read_trajectories(out / "play" / f"{name}.jsonl") for name in players},
        kinds=kinds,
        sweeps={power: points},
        seconds=0.0,
        seed=seed,
        settings={"steps": steps, "power": power, "episodes": episodes},
    )
    data, page = write_report(report, out)
    wrote(data, "the figures")
    wrote(page, "open it in a browser")
    wrote(write_picture(report, out / "picture.svg"), "the sweep")
    if report.hypervolume_ratio is not None:
        say(f"hypervolume {100 * report.hypervolume_ratio:.0f} % of the exact front's")
    give_figures(report.to_json(), json)
