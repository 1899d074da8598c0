"""``pluralign sweep``: policies x weights grid -> report.json, report.html."""

from __future__ import annotations

from pathlib import Path

from pluralign.cli.common import JsonFile, game_maker, give_figures, objectives_of, say, wrote
from pluralign.cli.policies import Models, open_policy, parse_policies
from pluralign.cli.reporting import make_report
from pluralign.collect import PolicyChooser, collect
from pluralign.core import InputError, Policy, UniformPolicy, simplex_grid
from pluralign.core.records import read_trajectories
from pluralign.evaluate import sweep
from pluralign.evaluate.report import Kind, write_picture, write_report
from pluralign.steer import GEOMETRIC


def sweep_weights(
    policies: tuple[str, ...],
    story: str,
    out: Path,
    steps: int = 10,
    power: float = GEOMETRIC,
    episodes: int = 300,
    seed: int = 0,
    features: Path | None = None,
    json: JsonFile = None,
) -> None:
    """Play the steered policy under every weighting of a grid, and report what the weights do.

    Every policy's name is the objective that it was learned for. An interrupted run continues when the same
    command is given again.

    Example: pluralign sweep --policies score=runs/score harm_avoidance=runs/harm --story salt_ledger
    --out runs/sweep

    Args:
        policies: NAME=DIR for each objective; the picture shows the first two.
        story: name of a built-in story, or a folder of ChoiceScript scenes.
        out: the folder to write.
        steps: weights are multiples of 1/steps.
        power: of the mixture: 1 arithmetic, 0 geometric, -1 harmonic.
        episodes: for each weighting.
        seed: of the episodes.
        features: folder where a language model's features are kept between runs.
        json: a file for the report's figures, too.
    """
    folders = parse_policies(policies)
    if len(folders) < 2:
        raise InputError(f"expected two or more NAME=DIR, found {len(folders)}", field="policies")
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
    say(f"hypervolume {100 * report.hypervolume_ratio:.0f} % of the exact front's")
    give_figures(report.to_json(), json)
