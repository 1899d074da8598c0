"""``pluralign sweep``: policies x weights grid -> report.json, report.html."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from pluralign.cli.common import Figures, named_entries, named_policies, say, say_table, wrote
from pluralign.core import InputError
from pluralign.evaluate.sweeps.alternatives import Alternatives, Baseline, read_sides
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL, Models
from pluralign.steer.mixing import GEOMETRIC

if TYPE_CHECKING:
    from pluralign.evaluate.sweeps.prompts import TextSweep

EPISODES = 300
"""Default number of episodes on a story per weighting."""
STEPS = 10
"""Default number of steps of the grid."""


@dataclass(frozen=True)
class TextSettings:
    """Options of sweeps over prompts.

    Args:
        model: Base model of the policies: smollm2-135m, a hub id or a local folder.
        rewards: Reward of each objective, as NAME=REWARD: a reward model's folder, closed-form:DIR,
            classifier:NAME or function:FILE.py:NAME.
        baselines: Baselines: soups averages the policies' weights, prompting instructs the base model to make
            the trade-off.
        sides: JSON file of further sides: {"fixed": [{"label", "weights", "folder"}, ...]} are policies that
            were trained for one weighting each, {"guided": [{"strength", "folders"}, ...]} are value models
            that guide the base model, {"others": [{"label", "folders"}, ...]} are other policies, such as
            heads (docs/serving.md).
        describe: Description of an objective for prompting, as NAME=TEXT.
        samples: Number of completions per prompt and weighting.
        max_new_tokens: Largest number of tokens of a completion.
        temperature: Sampling temperature; 0 selects the most likely token.
        limit: Largest number of prompts.
        template: Template of prompts that are messages, dialogue or chat; by default the policies' own.
        dtype: Precision of all models; auto is bfloat16 if the hardware supports it well.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default such
            names are ordinary text, but for policies that were learned with this option.
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
    control_tokens: bool = False


def sweep_weights(
    policies: tuple[str, ...],
    out: Path,
    story: str | None = None,
    prompts: str | None = None,
    steps: int = STEPS,
    budget: int | None = None,
    dial: Path | None = None,
    power: tuple[float, ...] = (GEOMETRIC,),
    episodes: int = EPISODES,
    seed: int = 0,
    features: Path | None = None,
    texts: Annotated[TextSettings, tyro.conf.arg(name="")] = TextSettings(),
) -> Figures:
    """Steer with every weighting of a grid, on a story or on prompts, and report returns or rewards.

    Each policy is named after its objective. On a story, the steered policy plays. On prompts, it generates
    completions, reward models of the same names score them, and the report compares steering with
    alternatives: averaging the policies' weights, prompting for the trade-off, policies trained for one
    weighting, value models. The same command continues an interrupted run.

    Example: pluralign sweep --policies score=runs/score harm_avoidance=runs/harm --story salt_ledger
    --out runs/sweep

    Example: pluralign sweep --policies helpful=runs/helpful harmless=runs/harmless --prompts prompts.jsonl
    --rewards helpful=runs/rm-helpful harmless=runs/rm-harmless --out runs/sweep

    Args:
        policies: Policy of each objective, as NAME=DIR; the figure shows the first two. A folder of heads
            (learn mah-dpo) without a name means all of its objectives.
        out: Output folder.
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        prompts: File of prompts, as for `pluralign generate`.
        steps: Number of steps of the grid: weights are multiples of 1/steps.
        budget: Number of weightings instead of a grid: the corners, the centre and others far from both.
            pluralign calibrate predicts the rest from them.
        dial: Folder of a dial that pluralign calibrate wrote: its predicted front is evaluated instead,
            BUDGET weightings (by default 10), and predicted outcomes are shown next to those that are found.
        power: Power of the mixture: 1 arithmetic, 0 geometric, -1 harmonic; with prompts, one or more.
        episodes: Number of episodes on a story per weighting.
        seed: Random seed of the episodes or the completions.
        features: Folder that keeps a language model's features of a story between runs.
        texts: Options of sweeps over prompts.
    """
    folders = named_policies(policies, "policies") if policies else {}
    if len(folders) < 2:
        raise InputError(f"expected two or more NAME=DIR, found {len(folders)}", field="policies")
    if steps != STEPS and (budget is not None or dial is not None):
        raise InputError(f"is given together with --{'dial' if dial else 'budget'}", field="steps")
    if (story is None) == (prompts is None):
        raise InputError("give either a story or prompts", field="story")
    if prompts is not None:
        if features is not None or episodes != EPISODES:
            raise InputError("requires --story", field="episodes" if features is None else "features")
        return _sweep_prompts(folders, prompts, out, texts, (steps, budget, dial), power, seed)
    for option in fields(texts):
        if getattr(texts, option.name) != getattr(TextSettings, option.name):
            raise InputError("requires --prompts", field=option.name)
    if len(power) != 1:
        raise InputError(f"a sweep on a story takes one power, found {len(power)}", field="power")
    # Help needs no model.
    from pluralign.evaluate.sweeps.story import sweep_story

    found = sweep_story(
        folders, str(story), steps=steps, budget=budget, dial=dial, power=power[0], episodes=episodes,
        seed=seed, models=Models(features=features), folder=out, say=say,
    )  # fmt: skip
    _say_files(found.save(out), "the sweep")
    if found.hypervolume_ratio is not None:
        say(f"hypervolume {100 * found.hypervolume_ratio:.0f} % of the exact front's")
    return {**found.report.to_json(), **_say_predictions(dial, out)}


def _sweep_prompts(
    folders: dict[str, Path], prompts: str, out: Path, texts: TextSettings,
    size: tuple[int, int | None, Path | None], powers: tuple[float, ...], seed: int,
) -> Figures:  # fmt: skip
    steps, budget, dial = size
    from pluralign.evaluate.sweeps.prompts import sweep

    rewards = named_entries(texts.rewards, "rewards", "NAME=REWARD")
    fixed, guided, others = ([], [], []) if texts.sides is None else read_sides(texts.sides)
    described = named_entries(texts.describe, "describe", "NAME=TEXT", required=False)
    found = sweep(
        folders, prompts, dict(rewards), model=texts.model, steps=steps, budget=budget, dial=dial,
        powers=powers, alternatives=Alternatives(texts.baselines, fixed, guided, described, others),
        samples=texts.samples,
        max_new_tokens=texts.max_new_tokens, temperature=texts.temperature, limit=texts.limit,
        template=texts.template, dtype=texts.dtype, control_tokens=texts.control_tokens, seed=seed,
        folder=out,
    )  # fmt: skip
    _say_sides(found)
    _say_files(found.save(out), "the fronts")
    return {**found.report.to_json(), **_say_predictions(dial, out)}


def _say_predictions(dial: Path | None, sweep: Path) -> Figures:
    if dial is None:
        return {}
    from pluralign.evaluate.sweeps.outcomes import predictions

    found = predictions(dial, sweep)
    say("predicted outcomes of the dial's front, and those found")
    rows = {
        weights.to_text(): [f"{p:.4g} -> {f:.4g}" for p, f in zip(promised, own, strict=True)]
        for weights, promised, own in zip(found.weightings, found.predicted, found.found, strict=True)
    }
    say_table(list(found.objectives), rows)
    if found.optimism is not None:
        say(f"the predicted hypervolume is {100 * found.optimism:+.1f} % off the one found")
    return {"predicted": found.predicted.tolist(), "optimism": found.optimism}


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
