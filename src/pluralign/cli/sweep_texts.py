"""``pluralign sweep`` over prompts: answers under each weighting, and their rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pluralign.cli.answer_rewards import score_sources
from pluralign.cli.common import named_entries, say, wrote
from pluralign.cli.estimates import say_table
from pluralign.core import InputError, SteeringWeights
from pluralign.data import Prompt
from pluralign.data.answers import Answers
from pluralign.evaluate.sweeps.fronts import TextFronts, compare_sides
from pluralign.evaluate.sweeps.texts import Score, file_name, text_sweep
from pluralign.evaluate.text_report import TextReport, write_text_picture, write_text_report
from pluralign.evaluate.text_report.words import interval
from pluralign.options.open import DEFAULT_MODEL

Baseline = Literal["soups", "prompting"]


@dataclass(frozen=True)
class TextSettings:
    """How a sweep over prompts is run.

    Args:
        model: that the policies were learned from: smollm2-135m, a hub id or a local folder.
        rewards: NAME=SPEC for each objective: a reward model's folder, closed-form:DIR or classifier:NAME.
        baselines: soups averages the policies' weights, prompting asks the model for the trade-off in words.
        fixed: LABEL@NAME=NUMBER,NAME=NUMBER=DIR: a policy that was learned for this one weighting.
        guided: STRENGTH@NAME=DIR,NAME=DIR: value models that lead the model itself, so far.
        describe: NAME=TEXT, what an objective means, for prompting.
        samples: answers to each prompt under each weighting.
        max_new_tokens: answers are cut off there.
        temperature: 0 takes the likeliest token.
        limit: take the first so many prompts alone.
        template: of prompts that are messages: dialogue or chat; by default the policies' own.
        exact: compute in float32 where bfloat16 would be faster.
    """

    model: str = DEFAULT_MODEL
    rewards: tuple[str, ...] = ()
    baselines: tuple[Baseline, ...] = ("soups", "prompting")
    fixed: tuple[str, ...] = ()
    guided: tuple[str, ...] = ()
    describe: tuple[str, ...] = ()
    samples: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    limit: int | None = None
    template: str | None = None
    exact: bool = False


@dataclass(frozen=True)
class FixedPolicy:
    """A policy that was learned for one weighting.

    Args:
        label: of its side; policies of one label are one side's points.
        weights: that it was learned for.
        folder: its folder.
    """

    label: str
    weights: SteeringWeights
    folder: Path

    @classmethod
    def parse(cls, entry: str, objectives: Sequence[str]) -> FixedPolicy:
        """Read ``LABEL@NAME=NUMBER,NAME=NUMBER=DIR``.

        Raises:
            InputError: it is of another form, or weighs other objectives.
        """
        label, at, rest = entry.partition("@")
        told, _, folder = rest.rpartition("=")
        if not label or not at or not told or not folder:
            raise InputError(f"expected LABEL@NAME=NUMBER,NAME=NUMBER=DIR, found {entry!r}", field="fixed")
        weights = SteeringWeights.parse(told)
        weights.require_known(list(objectives))
        whole = {name: weights.get(name, 0.0) for name in objectives}
        return cls(label, SteeringWeights(whole), Path(folder))


@dataclass(frozen=True)
class GuidedModel:
    """The model, led by a value model for each objective.

    Args:
        strength: how far.
        folders: of the objectives' value models.
    """

    strength: float
    folders: Mapping[str, Path]

    @classmethod
    def parse(cls, entry: str, objectives: Sequence[str]) -> GuidedModel:
        """Read ``STRENGTH@NAME=DIR,NAME=DIR``.

        Raises:
            InputError: it is of another form, or of other objectives.
        """
        told, at, rest = entry.partition("@")
        try:
            strength = float(told if at else "")
        except ValueError:
            raise InputError(
                f"expected STRENGTH@NAME=DIR,NAME=DIR, found {entry!r}", field="guided"
            ) from None
        named = named_entries(tuple(rest.split(",")), "guided", "NAME=DIR")
        if set(named) != set(objectives):
            raise InputError(
                f"are of {', '.join(sorted(named))}; the policies are of {', '.join(sorted(objectives))}",
                field="guided",
            )
        return cls(strength, {name: Path(named[name]) for name in objectives})


def sweep_texts(
    folders: Mapping[str, Path], prompts: str, out: Path, settings: TextSettings, *, steps: int,
    powers: Sequence[float], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Sweep over prompts, and write report.json, report.html and picture.svg.

    Args:
        folders: of each objective's policy.
        prompts: the file of prompts.
        out: the folder to write.
        settings: see `TextSettings`.
        steps: weights are multiples of 1/steps.
        powers: of the mixtures; the first one's side is what the others are compared with.
        seed: of the answers.

    Returns:
        The report's figures.

    Raises:
        InputError: policies and rewards of different objectives, a folder or file that cannot be used.
    """
    rewards = named_entries(settings.rewards, "rewards", "NAME=SPEC")
    if set(rewards) != set(folders):
        raise InputError(
            f"are of {', '.join(sorted(rewards))}; the policies are of {', '.join(sorted(folders))}",
            field="rewards",
        )
    fixed = [FixedPolicy.parse(entry, list(folders)) for entry in settings.fixed]
    guided = [GuidedModel.parse(entry, list(folders)) for entry in settings.guided]
    described = named_entries(settings.describe, "describe", "NAME=TEXT", required=False)
    if unknown := sorted(set(described) - set(folders)):
        raise InputError(f"unknown objective {unknown[0]!r}", field="describe")
    if not powers:
        raise InputError("expected a power or more, found none", field="power")
    # Torch and the policies' trunk are needed from here on.
    from pluralign.cli.text_sides import Table
    from pluralign.lm.backbone import fast_dtype

    table = Table(folders, prompts, settings, described)
    sides = table.sides(steps, powers, fixed, guided)
    points = text_sweep(
        [prompt.text for prompt in table.prompts], sides,
        _scorer(rewards, prompts, table.prompts, out, None if settings.exact else fast_dtype()),
        samples=settings.samples, seed=seed, folder=out,
    )  # fmt: skip
    fronts = compare_sides(points, list(folders), seed=seed)
    told: dict[str, Any] = {
        **asdict(settings), "policies": {name: str(folder) for name, folder in folders.items()},
        "rewards": rewards, "prompts": prompts, "template": table.template, "steps": steps,
        "powers": list(powers), "seed": seed, "instruction": table.example,
    }  # fmt: skip
    versions = {name: version(name) for name in ("pluralign", "torch", "transformers", "numpy")}
    report = TextReport(fronts, [prompt.text for prompt in table.prompts], told, versions, table.notes)
    _tell(fronts)
    data, page = write_text_report(report, out)
    wrote(data, "the figures")
    wrote(page, "open it in a browser")
    wrote(write_text_picture(report, out / "picture.svg"), "the fronts")
    return report.to_json()


def _scorer(
    rewards: Mapping[str, str], source: str, prompts: Sequence[Prompt], out: Path, dtype: Any
) -> Score:
    def score(side: str, texts: Sequence[Sequence[str]]) -> dict[str, list[list[float]]]:
        answers = [
            Answers(prompt.given, tuple(own), source, number)
            for number, (prompt, own) in enumerate(zip(prompts, texts, strict=True), start=1)
        ]
        path = out / "rewards" / f"{file_name(side)}.jsonl"
        wanted = [(name, side) for name in rewards]
        found = score_sources(rewards, {side: answers}, path, wanted=wanted, dtype=dtype)
        return {name: found[name, side] for name in rewards}

    return score


def _tell(fronts: TextFronts) -> None:
    say(f"hypervolumes of {len(fronts.base.texts)} prompts' mean rewards, with 95 % intervals")
    columns = ("points", "on the front", "hypervolume", "lead of the first")
    rows = {
        side.label: [
            str(len(side.points)), str(len(side.front)), interval(side.hypervolume),
            "" if side.lead is None else interval(side.lead),
        ]
        for side in fronts.sides
    }  # fmt: skip
    say_table(columns, rows)
