"""Sweeps over prompts: policies steered by a grid of weights, scored, and compared with alternatives."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.checks import checked, require_at_least
from pluralign.core.files import require_free
from pluralign.core.messages import unquoted
from pluralign.data.answers import Answers
from pluralign.data.examples import Prompt
from pluralign.data.source import Data
from pluralign.evaluate.report.summary import versions
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.statistics import Estimate
from pluralign.evaluate.sweeps.alternatives import Alternatives, Writing
from pluralign.evaluate.sweeps.fronts import SideFront, compare_sides
from pluralign.evaluate.sweeps.grids import weightings
from pluralign.evaluate.sweeps.sides import SideBuilder
from pluralign.evaluate.sweeps.texts import Score, TextPoint, file_name, text_sweep
from pluralign.evaluate.text_report.model import TextReport
from pluralign.evaluate.text_report.page import write_text_picture, write_text_report
from pluralign.folders.card import read_card
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL
from pluralign.rewards.identity import Scorer
from pluralign.rewards.open import require_reward
from pluralign.rewards.value_model import KIND as VALUES
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.policies import Policies
from pluralign.steer.policy_folders import adapter_folder, policy_card, policy_cards


@dataclass(frozen=True, eq=False)
class TextSweep:
    """Result of a sweep over prompts.

    Args:
        report: All measurements.
    """

    report: TextReport

    def __repr__(self) -> str:
        # A notebook would show all texts.
        prompts, found = len(self.report.prompts), self.hypervolume.with_interval()
        return f"<sweep of {len(self.points)} weightings, {prompts} prompts, hypervolume {found}>"

    @property
    def sides(self) -> tuple[SideFront, ...]:
        """The steered policies and the alternatives, with points, front and hypervolume of each."""
        return self.report.fronts.sides

    @property
    def points(self) -> tuple[TextPoint, ...]:
        """Texts and rewards of the steered policies under each weighting."""
        return self.sides[0].points

    @property
    def front(self) -> list[TextPoint]:
        """Points of the steered policies that no other of their points dominates."""
        return [self.points[number] for number in self.sides[0].front]

    @property
    def hypervolume(self) -> Estimate:
        """Hypervolume of the steered policies in units of the base model's rewards, with a 95 % interval over
        prompts (`compare_sides`)."""
        return self.sides[0].hypervolume

    def save(self, folder: str | Path) -> Path:
        """Write report.json, report.html and picture.svg, and return the folder.

        Raises:
            InputError: The folder cannot be written.
        """
        write_text_report(self.report, Path(folder))
        self.draw(Path(folder) / "picture.svg")
        return Path(folder)

    def draw(self, path: str | Path) -> Path:
        """Draw the first two objectives as an SVG file, and return its path.

        Raises:
            InputError: The file cannot be written.
        """
        return write_text_picture(self.report, Path(path))


@checked
def sweep(
    policies: Policies | Mapping[str, str | Path],
    prompts: Data | Sequence[str],
    rewards: Mapping[str, Scorer],
    *,
    model: str | None = None,
    steps: int = 10,
    budget: int | None = None,
    dial: str | Path | None = None,
    powers: Sequence[float] | None = None,
    alternatives: Alternatives = Alternatives(),  # noqa: B008 - frozen
    samples: int = 1,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    limit: int | None = None,
    template: str | None = None,
    dtype: DTypeName | None = None,
    control_tokens: bool | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
) -> TextSweep:
    """Steer policies with every weighting of a grid, score their texts, and compare fronts and hypervolumes.

    Rewards are scaled so that the base model's mean is 0 and the standard deviation of its rewards over
    prompts is 1. Samples have the same seeds under all weightings.

    Args:
        policies: Result of `load_policies`, or the folder of each objective's policy.
        prompts: Two or more texts, or another argument of `load_prompts`.
        rewards: Reward model of each objective: a loaded one, a folder, or another argument of `load_reward`.
        model: Base model of the policies: smollm2-135m, a hub id or a local folder. By default that of loaded
            policies, or else smollm2-135m.
        steps: Number of steps of the grid: weights are multiples of 1/steps.
        budget: Number of weightings that fill the simplex (`steer.design.design`), instead of a grid.
        dial: Folder of a dial, whose predicted front is evaluated instead: ``budget`` weightings of it, by
            default 10. `predictions` compares what was predicted with what is found.
        powers: Powers of the mixture: 0 geometric, 1 arithmetic, -1 harmonic. Each power is a side; the first
            one is compared with all others. By default that of loaded policies, or else geometric.
        alternatives: Other sides to compare with.
        samples: Number of texts per prompt and weighting.
        max_new_tokens: Largest number of tokens of a text.
        temperature: Sampling temperature; 0 selects the most likely token.
        limit: Largest number of prompts.
        template: Template of prompts that are messages, ``dialogue`` or ``chat``; by default the policies'
            own.
        dtype: Precision of all models; by default that of loaded policies, or else the faster one.
        control_tokens: Whether prompts that are texts may contain control tokens by name; by default as with
            loaded policies, or else such names are ordinary text.
        seed: Random seed of the texts and of the bootstrap.
        folder: Folder for texts and rewards, from which an interrupted sweep continues; None keeps them in
            memory.

    Raises:
        InputError: The rewards have other objectives than the policies, there are fewer than two policies or
            prompts, or the folder holds another sweep's texts or other files.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> turned = [{**row, "chosen": " no", "rejected": " yes"} for row in rows]
        >>> rewards = {
        ...     name: pl.fit_reward(pl.load_pairs(own, name), model="tiny-random")
        ...     for name, own in {"yes": rows, "no": turned}.items()
        ... }
        >>> mix = pl.load_policies("tiny-random", yes="tiny-random", no="tiny-random")
        >>> prompts = ["Say a:", "Say b:"]
        >>> found = pl.sweep(mix, prompts, rewards=rewards, steps=1, max_new_tokens=2)
        >>> len(found.points)
        2
        >>> found.save("sweep").joinpath("report.html").exists()
        True
    """
    require_at_least(0, seed=seed)
    loaded = policies if isinstance(policies, Policies) else None
    places = policies.folders if isinstance(policies, Policies) else policies
    folders = {name: Path(place) for name, place in places.items()}
    if model is None:
        model = loaded.model if loaded else DEFAULT_MODEL
    powers = powers if powers is not None else (loaded.power if loaded else GEOMETRIC,)
    dtype = dtype or (loaded.dtype if loaded else "auto")
    if template is None and loaded:
        template = loaded.template
    _check(folders, rewards, powers, alternatives, model)
    if folder is not None and not (Path(folder) / "texts").is_dir():
        require_free(folder)
    if control_tokens is None:
        control_tokens = loaded is not None and loaded.control_tokens
    writing = Writing(model, max_new_tokens, temperature, template, dtype, control_tokens)
    grid = weightings(list(folders), steps, budget, dial)
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        builder = SideBuilder(folders, prompts, writing, alternatives.descriptions, limit)
        texts = [prompt.text for prompt in builder.prompts]
        if len(texts) < 2:
            raise InputError(
                f"expected at least two prompts, found {len(texts)}: intervals are over prompts",
                field="prompts",
            )
        source = str(prompts) if isinstance(prompts, str | Path) else ""
        points = text_sweep(
            texts, builder.sides(grid, powers, alternatives),
            _scorer(rewards, source, builder.prompts, Path(place) / "rewards", dtype),
            samples=samples, seed=seed, folder=Path(place),
        )  # fmt: skip
    settings = {
        **_described(writing, alternatives), "template": builder.template, "samples": samples, "limit": limit,
        "policies": {name: str(own) for name, own in folders.items()},
        "rewards": {n: str(own) if isinstance(own, str | Path) else own.name for n, own in rewards.items()},
        "prompts": source, "steps": steps, "powers": list(powers), "seed": seed,
        "descriptions": dict(alternatives.descriptions), "instruction": builder.example,
    }  # fmt: skip
    if budget is not None:
        settings["budget"] = budget
    if dial is not None:
        settings["dial"] = str(dial)
        del settings["steps"]
    fronts, shown = compare_sides(points, list(folders), seed=seed), [unquoted(text) for text in texts]
    return TextSweep(TextReport(fronts, shown, settings, versions(), builder.notes))


def _described(writing: Writing, alternatives: Alternatives) -> dict[str, Any]:
    """Settings of a sweep's writing and of its other sides, for the report."""
    settings: dict[str, Any] = {
        **asdict(writing),
        "baselines": list(alternatives.baselines),
        "fixed": [
            {"label": one.label, "weights": dict(one.weights), "folder": str(one.folder)}
            for one in alternatives.fixed
        ],
        "guided": [
            {"strength": one.strength, "folders": {n: str(own) for n, own in one.folders.items()}}
            for one in alternatives.guided
        ],
    }
    if alternatives.others:
        settings["others"] = [
            {"label": one.label, "folders": {n: str(own) for n, own in one.folders.items()}}
            for one in alternatives.others
        ]
    if not writing.control_tokens:
        # Said where it is not the default.
        del settings["control_tokens"]
    return settings


def _check(
    policies: Mapping[str, Path], rewards: Mapping[str, Scorer], powers: Sequence[float],
    alternatives: Alternatives, model: str,
) -> None:  # fmt: skip
    names = list(policies)
    if len(names) < 2:
        raise InputError(f"expected policies of two or more objectives, found {len(names)}", field="policies")
    if set(rewards) != set(names):
        raise InputError(
            f"have the objectives {', '.join(sorted(rewards))}, but the policies {', '.join(sorted(names))}",
            field="rewards",
        )
    for name, own in rewards.items():
        if isinstance(own, str | Path):
            require_reward(own)
        elif not hasattr(own, "score_decisions"):
            raise InputError(
                f"expected a reward, found {own!r:.60}; pl.FunctionReward makes one of a function",
                field=f"rewards.{name}",
            )
    if not powers:
        raise InputError("expected at least one power, found none", field="power")
    if unknown := sorted(set(alternatives.descriptions) - set(names)):
        raise InputError(f"unknown objective {unknown[0]!r}", field="describe")
    for one in alternatives.fixed:
        one.weights.require_known(names)
        adapter_folder(one.folder, policy_card(one.folder), model)
    sets = [("guided", one.folders) for one in alternatives.guided]
    for field, folders in [*sets, *(("others", one.folders) for one in alternatives.others)]:
        if set(folders) != set(names):
            raise InputError(
                f"have the objectives {', '.join(sorted(folders))}, but the policies "
                f"{', '.join(sorted(names))}",
                field=field,
            )
    for folder in (folder for one in alternatives.guided for folder in one.folders.values()):
        read_card(folder, VALUES)
    for one in alternatives.others:
        policy_cards(one.folders)


def _scorer(
    rewards: Mapping[str, Scorer], source: str, prompts: Sequence[Prompt], folder: Path, dtype: DTypeName
) -> Score:
    def score(side: str, texts: Sequence[Sequence[str]]) -> dict[str, list[list[float]]]:
        answers = [
            Answers(prompt.given, tuple(own), source, number)
            for number, (prompt, own) in enumerate(zip(prompts, texts, strict=True), start=1)
        ]
        path = folder / f"{file_name(side)}.jsonl"
        wanted = [(name, side) for name in rewards]
        found = score_sources(rewards, {side: answers}, path, wanted=wanted, dtype=dtype)
        return {name: found[name, side] for name in rewards}

    return score
