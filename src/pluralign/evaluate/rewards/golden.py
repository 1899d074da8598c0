"""Golden rewards of policies' answers and of best-of-N by several rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import require_at_least
from pluralign.core.files import write_json
from pluralign.data.answers import AnswerSet
from pluralign.evaluate.pictures.alignment import NORMALISED, Curve, draw_curves, draw_scores
from pluralign.evaluate.rewards.best_of_n import BestOfN, best_of_n, normalised
from pluralign.evaluate.rewards.proxy_point import ProxyPoint, proxy_point
from pluralign.evaluate.rewards.scored import AnswerRewards, score_sources
from pluralign.evaluate.statistics import Estimate, estimate, paired_difference
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import Scorer

GOLDEN = "golden"
"""Reserved name of the golden reward among the rewards that select."""
ENDS = ("base", "demonstrations")
"""Sources whose mean golden rewards become 0 and 1."""


@dataclass(frozen=True)
class GoldenScores:
    """Mean golden rewards of policies' answers.

    Attributes:
        rewards: Mean golden reward of each source.
        normalised: The policies' means on the scale of `ENDS`; empty if there is no such scale.
        above_first: Difference of each other policy from the first one, prompt by prompt.
        first: Name of the first policy.
        prompts: Number of prompts.
        note: Reason why nothing is normalised.
    """

    rewards: Mapping[str, Estimate]
    normalised: Mapping[str, Estimate]
    above_first: Mapping[str, Estimate]
    first: str
    prompts: int
    note: str

    def save(self, folder: Path, golden: str, seed: int) -> dict[str, Any]:
        """Write report.json and scores.svg, and return the figures."""
        shown = self.normalised or {name: v for name, v in self.rewards.items() if name not in ENDS}
        draw_scores({golden: shown}, folder / "scores.svg", label=_label(self.normalised))
        figures = {
            "prompts": self.prompts, "golden": golden, "seed": seed, "rewards": _plain(self.rewards),
            "normalised": _plain(self.normalised) or None, f"above_{self.first}": _plain(self.above_first),
        }  # fmt: skip
        write_json(folder / "report.json", figures)
        return figures


def golden_scores(
    policies: Mapping[str, AnswerSet], ends: Mapping[str, AnswerSet], golden: Scorer, folder: str | Path, *,
    dtype: DTypeName = "float32", seed: int = 0,
) -> GoldenScores:  # fmt: skip
    """Score policies' answers to the same prompts with a golden reward.

    Args:
        policies: Answers of each policy; several answers to one prompt are averaged.
        ends: Answers of the base model and demonstrations, named as in `ENDS`.
        golden: Golden reward.
        folder: Folder for rewards.jsonl; an interrupted run continues.
        dtype: Precision of the golden reward.
        seed: Random seed of the bootstrap.

    Raises:
        InputError: A policy has a name of `ENDS`, there are fewer than two prompts, or answers were drawn
            until one was good enough.

    Examples:
        >>> import pluralign as pl
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> said = {"base": " no, no, no", "demonstrations": " no", "mine": " no, no"}
        >>> answers = {
        ...     name: pl.evaluate.load_answers([{"prompt": p, "completion": text} for p in ("A:", "B:")])
        ...     for name, text in said.items()
        ... }
        >>> found = pl.evaluate.golden_scores({"mine": answers.pop("mine")}, answers, brief, "golden")
        >>> found.rewards["mine"].mean, found.normalised["mine"].mean
        (-7.0, 0.5)
    """
    require_at_least(0, seed=seed)
    if taken := sorted(set(policies) & set(ENDS)):
        raise InputError(f"'{taken[0]}' is reserved for an end of the scale", field="sources")
    first = next(iter(policies))
    prompts = policies[first]
    for source in (*policies.values(), *ends.values()):
        source.require_fixed_number()
    answers = {name: source.of(prompts) for name, source in {**policies, **ends}.items()}
    if len(prompts.answers) < 2:
        raise InputError("has one prompt; intervals need at least two", path=prompts.path)
    wanted = [(GOLDEN, name) for name in answers]
    found = score_sources(
        {GOLDEN: golden}, answers, Path(folder) / "rewards.jsonl", wanted=wanted, dtype=dtype
    )
    means = _by_prompt(found, answers)
    scaled, note = _normalised({name: means[name] for name in policies}, means, seed)
    return GoldenScores(
        {name: estimate(values, seed=seed) for name, values in means.items()},
        {name: own[0] for name, own in scaled.items()},
        {name: paired_difference(means[name], means[first], seed=seed) for name in policies if name != first},
        first,
        len(prompts.answers),
        note,
    )


@dataclass(frozen=True, eq=False)
class GoldenCurves:
    """Golden rewards of best-of-N, for every N, by each reward that selects.

    Attributes:
        curves: Curve of each reward; the last one is that of the golden reward itself, the ceiling.
        normalised: Curves on the scale of `ENDS`; empty if there is no such scale.
        sources: Mean golden rewards of other answers to the same prompts.
        proxy_points: Proxy point of each reward but the golden one.
        note: Reason why nothing is normalised.
    """

    curves: Mapping[str, BestOfN]
    normalised: Mapping[str, Sequence[Estimate]]
    sources: Mapping[str, Estimate]
    proxy_points: Mapping[str, ProxyPoint]
    note: str

    @property
    def label(self) -> str:
        """Axis label of the curves."""
        return _label(self.normalised)

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return len(self.curves[GOLDEN].golden_by_prompt)

    @property
    def samples(self) -> int:
        """Number of samples per prompt."""
        return len(self.curves[GOLDEN].kl_bound)

    def shown(self) -> dict[str, Curve]:
        """Curves by title, normalised if possible."""
        return {
            f"{name} (ceiling)" if name == GOLDEN else name: Curve(
                self.normalised[name] if self.normalised else curve.golden, curve.win_rate
            )
            for name, curve in self.curves.items()
        }

    def save(self, folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Write report.json, with more figures before the curves, and curves.svg; return all figures."""
        draw_curves(self.shown(), folder / "curves.svg", label=self.label)
        found = {
            **figures,
            "n": list(range(1, self.samples + 1)),
            "kl_bound": list(self.curves[GOLDEN].kl_bound),
            "golden_of": _plain(self.sources),
            "proxy_points": {name: point.to_json() for name, point in self.proxy_points.items()},
            "curves": {
                name: {
                    "golden": [one.to_json() for one in curve.golden],
                    "normalised": [o.to_json() for o in self.normalised[name]] if self.normalised else None,
                    "win_rate": None if curve.win_rate is None else [o.to_json() for o in curve.win_rate],
                }
                for name, curve in self.curves.items()
            },
        }
        write_json(folder / "report.json", found)
        return found


def golden_best_of_n(
    draws: AnswerSet, rewards: Mapping[str, Scorer], golden: Scorer, others: Mapping[str, AnswerSet],
    folder: str | Path, *, dtype: DTypeName = "float32", seed: int = 0,
) -> GoldenCurves:  # fmt: skip
    """Measure best-of-N by each reward with a golden reward, for every N from one set of samples.

    Args:
        draws: Samples, the same number per prompt.
        rewards: Rewards that select.
        golden: Golden reward, which measures the selected samples.
        others: Other answers to the same prompts: both or neither of `ENDS`, and "greedy", one answer per
            prompt, the baseline of win rates.
        folder: Folder for rewards.jsonl; an interrupted run continues.
        dtype: Precision of the reward models.
        seed: Random seed of the bootstrap.

    Raises:
        InputError: A reward has the golden one's name, one end of the scale is missing, or prompts have
            different numbers of samples.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": p, "completion": f" no{', no' * i}"} for p in ("A:", "B:") for i in range(4)]
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> wordy = pl.FunctionReward("wordy", lambda prompts, texts: [text.count(",") for text in texts])
        >>> found = pl.evaluate.golden_best_of_n(
        ...     pl.evaluate.load_answers(rows), {"wordy": wordy}, brief, {}, "curves"
        ... )
        >>> [one.mean for one in found.curves["wordy"].golden][::3]
        [-9.0, -15.0]
    """
    require_at_least(0, seed=seed)
    if GOLDEN in rewards:
        raise InputError(f"'{GOLDEN}' is the name of the golden reward", field="rewards")
    if len(set(ENDS) & set(others)) == 1:
        raise InputError("give both base and demonstrations, which normalise rewards, or neither")
    _check_samples(draws)
    answers = {name: source.of(draws) for name, source in others.items()}
    found = score_sources(
        {**rewards, GOLDEN: golden},
        {"draws": list(draws.answers.values()), **answers},
        Path(folder) / "rewards.jsonl",
        wanted=[(name, "draws") for name in rewards] + [(GOLDEN, name) for name in ("draws", *answers)],
        dtype=dtype,
    )
    means = _by_prompt(found, answers)
    worth = np.array(found[GOLDEN, "draws"])
    curves = {
        name: best_of_n(np.array(found[name, "draws"]), worth, means.get("greedy"), seed=seed)
        for name in (*rewards, GOLDEN)
    }
    scaled, note = _normalised({name: c.golden_by_prompt for name, c in curves.items()}, means, seed)
    sources = {name: estimate(values, seed=seed) for name, values in means.items()}
    points = {name: proxy_point(np.array(found[name, "draws"]), worth, seed=seed) for name in rewards}
    return GoldenCurves(curves, scaled, sources, points, note)


def _check_samples(draws: AnswerSet) -> None:
    draws.require_fixed_number()
    prompts = list(draws.answers.values())
    if len(prompts) < 2:
        raise InputError("has one prompt; intervals need at least two", path=draws.path)
    expected = len(prompts[0].completions)
    for one in prompts:
        if len(one.completions) != expected:
            raise InputError(
                "every prompt needs the same number of samples: "
                f"this one has {len(one.completions)}, the first has {expected}",
                path=draws.path,
                row=one.row,
            )


def _by_prompt(found: AnswerRewards, sources: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Mean golden reward of each source's answers to each prompt."""
    return {name: np.array([float(np.mean(own)) for own in found[GOLDEN, name]]) for name in sources}


def _normalised(
    values: Mapping[str, FloatArray], means: Mapping[str, FloatArray], seed: int
) -> tuple[dict[str, list[Estimate]], str]:
    """Values on the scale of `ENDS`; or nothing and the reason, if there is no scale."""
    if ENDS[0] not in means:
        return {}, ""
    ends = (means[ENDS[0]], means[ENDS[1]])
    try:
        return {name: normalised(own, *ends, seed=seed) for name, own in values.items()}, ""
    except InputError as error:
        return {}, str(error)


def _label(scaled: Mapping[str, Any]) -> str:
    return NORMALISED if scaled else "golden reward"


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: value.to_json() for name, value in estimates.items()}
