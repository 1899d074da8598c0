"""``pluralign sweep``: policies x weights grid -> report.json, report.html."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.cli.policies import parse_policies
from pluralign.core import InputError
from pluralign.evaluate.sweeps.alternatives import Alternatives, Baseline, read_sides
from pluralign.evaluate.sweeps.prompts import TextSweep, sweep
from pluralign.evaluate.sweeps.story import sweep_story
from pluralign.lm.backbone import DTypeName
from pluralign.options.open import DEFAULT_MODEL, Models
from pluralign.steer.mixing import GEOMETRIC


@dataclass(frozen=True)
class TextSettings:
    """Options of sweeps over prompts.

    Args:
        model: Model that the policies were learned from: smollm2-135m, a hub id or a local folder.
        rewards: NAME=REWARD for each objective: a reward model's folder, closed-form:DIR or classifier:NAME.
        baselines: Baselines: soups averages the policies' weights, prompting asks the model for the trade-off
            in words.
        sides: JSON file of further sides: {"fixed": [{"label", "weights", "folder"}, ...]} are policies that
            were learned for one weighting each, {"guided": [{"strength", "folders"}, ...]} value models that
            guide the base model (docs/serving.md).
        describe: NAME=TEXT, the meaning of an objective, for prompting.
        samples: Completions for each prompt under each weighting.
        max_new_tokens: Largest number of tokens of a completion.
        temperature: Temperature of sampling; 0 takes the most likely token.
        limit: Largest number of prompts.
        template: Template of prompts that are messages, dialogue or chat; by default the policies' own.
        dtype: Precision of all models; auto is bfloat16 where the machine is fast at it.
    """

    model: str = DEFAULT_MODEL
    rewards: tuple[str, ...] = ()
    baselines: tuple[Baseline, ...] = ("soups", "prompting")
    sides: Path | None = None
    describe: tuple[str, ...] = ()
    samples: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    limit: int | None = None
    template: str | None = None
    dtype: DTypeName = "auto"


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
    texts: Annotated[TextSettings, tyro.conf.arg(name="")] = TextSettings(),
) -> None:
    """Steer by every weighting of a grid, on a story or on prompts, and report returns or rewards.

    Each policy is named after the objective that it was learned for. On a story, the steered policy plays.
    On prompts, it writes completions, reward models of the same names score them, and the report compares
    steering with alternatives: averaging the policies' weights, asking for the trade-off in words, policies
    trained for one weighting, value models. The same command continues an interrupted run.

    Example: pluralign sweep --policies score=runs/score harm_avoidance=runs/harm --story salt_ledger
    --out runs/sweep

    Example: pluralign sweep --policies helpful=runs/helpful harmless=runs/harmless --prompts prompts.jsonl
    --rewards helpful=runs/rm-helpful harmless=runs/rm-harmless --out runs/sweep

    Args:
        policies: NAME=DIR for each objective; the picture shows the first two.
        out: Folder to write.
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        prompts: File of prompts, as for `pluralign generate`.
        steps: Steps of the grid: weights are multiples of 1/steps.
        power: Power of the mixture: 1 arithmetic, 0 geometric, -1 harmonic; with prompts, one or more.
        episodes: Episodes on a story for each weighting.
        seed: Random seed of the episodes or the completions.
        features: Folder in which a language model's features of a story are kept between runs.
        json: JSON file for the report's figures.
        texts: Options of sweeps over prompts.
    """
    folders = parse_policies(policies)
    if len(folders) < 2:
        raise InputError(f"expected two or more NAME=DIR, found {len(folders)}", field="policies")
    if (story is None) == (prompts is None):
        raise InputError("give either a story or prompts", field="story")
    if prompts is not None:
        _sweep_prompts(folders, prompts, out, texts, steps, power, seed, json)
    elif story is not None:
        if texts.rewards or texts.sides:
            raise InputError("go with prompts; a story has rewards of its own", field="rewards")
        if len(power) != 1:
            raise InputError(f"a story's sweep takes one, found {len(power)}", field="power")
        found = sweep_story(
            folders, story, steps=steps, power=power[0], episodes=episodes, seed=seed,
            models=Models(features=features), folder=out, say=say,
        )  # fmt: skip
        _say_files(found.save(out), "the sweep")
        if found.hypervolume_ratio is not None:
            say(f"hypervolume {100 * found.hypervolume_ratio:.0f} % of the exact front's")
        give_figures(found.report.to_json(), json)


def _sweep_prompts(
    folders: dict[str, Path], prompts: str, out: Path, texts: TextSettings, steps: int,
    powers: tuple[float, ...], seed: int, json: Path | None,
) -> None:  # fmt: skip
    rewards = named_entries(texts.rewards, "rewards", "NAME=REWARD")
    fixed, guided = ([], []) if texts.sides is None else read_sides(texts.sides)
    described = named_entries(texts.describe, "describe", "NAME=TEXT", required=False)
    found = sweep(
        folders, prompts, dict(rewards), model=texts.model, steps=steps, powers=powers,
        alternatives=Alternatives(texts.baselines, fixed, guided, described), samples=texts.samples,
        max_new_tokens=texts.max_new_tokens, temperature=texts.temperature, limit=texts.limit,
        template=texts.template, dtype=texts.dtype, seed=seed, folder=out,
    )  # fmt: skip
    _say_sides(found)
    _say_files(found.save(out), "the fronts")
    give_figures(found.report.to_json(), json)


def _say_files(folder: Path, picture: str) -> None:
    wrote(folder / "report.json", "the figures")
    wrote(folder / "report.html", "open it in a browser")
    wrote(folder / "picture.svg", picture)


def _say_sides(found: TextSweep) -> None:
    prompts = len(found.report.prompts)
    say(f"hypervolumes of the mean rewards of {prompts} prompts, with 95 % intervals")
    columns = ("points", "on the front", "hypervolume", "lead of the first")
    rows = {
        side.label: [
            str(len(side.points)), str(len(side.front)), side.hypervolume.with_interval(),
            "" if side.lead is None else side.lead.with_interval(),
        ]
        for side in found.sides
    }  # fmt: skip
    say_table(columns, rows)
