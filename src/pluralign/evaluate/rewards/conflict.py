"""Which prompts make objectives conflict: what a prompt's samples leave to choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pluralign.core import InputError
from pluralign.core.arrays import FloatArray, varies
from pluralign.core.checks import checked
from pluralign.core.files import write_json
from pluralign.core.pareto import hypervolume
from pluralign.data.answers import AnswerSet
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.statistics import Estimate, estimate
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import Scorer

Kind = Literal["none", "one", "several", "opposed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Kinds of prompts: no reward differs between the samples, one does, several do, or several do and exclude
each other."""

THRESHOLD = 0.5
"""Deviation within a prompt from which on a reward differs, in units of its deviation within all prompts."""
OPPOSED = -0.5
"""Correlation of two differing rewards below which they exclude each other."""
_NAMED = 120


@dataclass(frozen=True, eq=False)
class Conflict:
    """Conflict between objectives, by prompt.

    Args:
        objectives: Names of the objectives.
        prompts: Prompts as texts.
        deviations: Standard deviation of each reward over a prompt's samples, shape (prompts, objectives).
        correlations: Correlation of each pair of rewards over a prompt's samples, NaN where one is constant;
            shape (prompts, pairs) in the order of ``pairs``.
        volumes: Share of the box between the worst and the best reward of each differing objective that the
            prompt's samples dominate: 1 if one sample is best in all; NaN if fewer than two rewards differ.
            Shape (prompts,).
        kinds: Kind of each prompt.
        between: Share of each reward's variance that lies between prompts, by objective: what no answer to a
            prompt can change. What means of few samples differ by chance is subtracted.
        threshold: Threshold by which the prompts were classified, see `find_conflict`.
    """

    objectives: tuple[str, ...]
    prompts: tuple[str, ...]
    deviations: FloatArray
    correlations: FloatArray
    volumes: FloatArray
    kinds: tuple[Kind, ...]
    between: Mapping[str, float]
    threshold: float = THRESHOLD

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of objectives, by number."""
        names = range(len(self.objectives))
        return [(i, j) for i in names for j in names if i < j]

    @property
    def shares(self) -> dict[Kind, float]:
        """Share of the prompts of each kind."""
        counts = Counter(self.kinds)
        return {kind: counts[kind] / len(self.kinds) for kind in KINDS}

    @property
    def volume(self) -> Estimate | None:
        """Mean of ``volumes`` over prompts where several rewards differ; None if there are fewer than two."""
        known = self.volumes[~np.isnan(self.volumes)]
        return estimate(known).within(0.0, 1.0) if len(known) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON values."""
        rows = [
            {
                "prompt": text[:_NAMED], "kind": kind,
                "deviations": dict(zip(self.objectives, deviations, strict=True)),
                "correlations": {
                    f"{self.objectives[i]}, {self.objectives[j]}": None if np.isnan(value) else value
                    for (i, j), value in zip(self.pairs, correlations, strict=True)
                },
                "volume": None if np.isnan(volume) else volume,
            }
            for text, kind, deviations, correlations, volume in zip(
                self.prompts, self.kinds, self.deviations.tolist(), self.correlations.tolist(),
                self.volumes.tolist(), strict=True,
            )
        ]  # fmt: skip
        volume = self.volume
        return {
            "objectives": list(self.objectives), "kinds": self.shares, "variance_between": dict(self.between),
            "volume": None if volume is None else volume.to_json(), "prompts": rows,
        }  # fmt: skip

    def save(self, folder: Path, figures: Mapping[str, Any]) -> Path:
        """Write conflict.json and conflict.svg, and return the JSON file's path.

        Args:
            folder: Output folder.
            figures: Further figures.
        """
        write_json(folder / "conflict.json", {**figures, **self.to_json()})
        self.draw(folder / "conflict.svg")
        return folder / "conflict.json"

    def draw(self, path: Path) -> None:
        """Draw the first two objectives' deviations of each prompt, by kind.

        Args:
            path: File to write, .svg or .png.

        Raises:
            InputError: The file name ends in neither .svg nor .png.
        """
        # Drawing needs matplotlib, which is slow to import.
        from pluralign.evaluate.pictures.conflict import draw_conflict

        draw_conflict(self.objectives, self.deviations, self.kinds, self.shares.items(), self.threshold, path)


def find_conflict(
    rewards: Mapping[str, Sequence[Sequence[float]]], prompts: Sequence[str], *, threshold: float = THRESHOLD
) -> Conflict:
    """Classify prompts by what their samples leave to choose.

    The claim behind it is MORA's (Huang et al. 2026, arXiv 2605.11679): trade-offs come from prompts that
    admit one reward only. Only its abstract was at hand; the definitions are ours.

    Args:
        rewards: Rewards of the samples of each prompt, by objective.
        prompts: Prompts as texts.
        threshold: Deviation from which on a reward differs, in units of its pooled deviation within prompts.
            (A median would be small where most prompts leave nothing to choose.)

    Raises:
        InputError: There are fewer than two objectives, no prompt, a prompt with one sample, different
            numbers of samples, or a reward that is not finite.
    """
    names = tuple(rewards)
    if len(names) < 2 or not prompts:
        raise InputError(f"expected rewards of two or more objectives, found {len(names)}", field="rewards")
    if not threshold > 0:
        raise InputError(f"must be above 0, found {threshold}", field="threshold")
    if any(len(own) != len(prompts) for own in rewards.values()):
        sizes = [len(own) for own in rewards.values()]
        raise InputError(f"expected those of {len(prompts)} prompts, found {sizes}", field="rewards")
    samples = [_samples(rewards, number) for number in range(len(prompts))]
    deviations = np.stack([np.where(varies(own), own.std(axis=0), 0.0) for own in samples])
    differ = deviations > threshold * np.sqrt((deviations**2).mean(axis=0))
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    correlations = np.array([[_correlation(own, i, j) for i, j in pairs] for own in samples])
    kinds: tuple[Kind, ...] = tuple(
        _kind(row, dict(zip(pairs, own, strict=True)))
        for row, own in zip(differ, correlations.tolist(), strict=True)
    )
    volumes = np.array([_volume(own[:, row]) for own, row in zip(samples, differ, strict=True)])
    return Conflict(
        names, tuple(prompts), deviations, correlations, volumes, kinds,
        dict(zip(names, _between(samples), strict=True)), threshold,
    )  # fmt: skip


@checked
def evaluate_conflict(
    samples: AnswerSet, rewards: Mapping[str, Scorer], folder: str | Path, *, threshold: float = THRESHOLD,
    dtype: DTypeName = "float32",
) -> Conflict:  # fmt: skip
    """Score samples with every reward, and classify their prompts (`find_conflict`).

    Args:
        samples: Samples of a model, several per prompt; prompts with one are left out.
        rewards: Reward of each objective.
        folder: Folder for rewards.jsonl; an interrupted run continues.
        threshold: See `find_conflict`.
        dtype: Precision of the rewards.

    Raises:
        InputError: No prompt has several samples; or see `find_conflict`.

    Examples:
        >>> import pluralign as pl
        >>> texts = " no", " ok, ok", " no!", " ok, ok!"
        >>> rows = [{"prompt": p, "completion": text} for p in ("A:", "B:") for text in texts]
        >>> rewards = {
        ...     "brief": pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts]),
        ...     "ok": pl.FunctionReward("ok", lambda prompts, texts: [one.count("ok") for one in texts]),
        ... }
        >>> found = pl.evaluate.evaluate_conflict(pl.evaluate.load_answers(rows), rewards, "conflict")
        >>> found.kinds
        ('opposed', 'opposed')
    """
    samples.require_fixed_number()
    answers = [one for one in samples.answers.values() if len(one.completions) > 1]
    if not answers:
        raise InputError("has one sample per prompt; conflicts need several", path=samples.path)
    wanted = [(name, "samples") for name in rewards]
    path = Path(folder) / "rewards.jsonl"
    found = score_sources(rewards, {"samples": answers}, path, wanted=wanted, dtype=dtype)
    prompts = [
        one.prompt if isinstance(one.prompt, str) else str(one.prompt[-1]["content"]) for one in answers
    ]
    return find_conflict({name: found[name, "samples"] for name in rewards}, prompts, threshold=threshold)


def _samples(rewards: Mapping[str, Sequence[Sequence[float]]], number: int) -> FloatArray:
    columns = [np.asarray(own[number], dtype=np.float64) for own in rewards.values()]
    sizes = {len(column) for column in columns}
    if len(sizes) != 1 or min(sizes) < 2:
        raise InputError(
            f"expected two or more samples, equally many by objective, found {sizes}", row=number + 1
        )
    table = np.stack(columns, axis=1)
    if not np.isfinite(table).all():
        raise InputError("a reward is not finite", row=number + 1)
    return table


def _correlation(samples: FloatArray, i: int, j: int) -> float:
    if not varies(samples[:, [i, j]]).all():
        return float("nan")
    left, right = samples[:, i] - samples[:, i].mean(), samples[:, j] - samples[:, j].mean()
    size = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float(left @ right) / size if size > 0 else float("nan")


def _kind(differ: FloatArray, correlations: Mapping[tuple[int, int], float]) -> Kind:
    count = int(differ.sum())
    if count < 2:
        return "one" if count else "none"
    both = [value for (i, j), value in correlations.items() if differ[i] and differ[j]]
    return "opposed" if min(both) < OPPOSED else "several"


def _volume(samples: FloatArray) -> float:
    """Share of the box of a prompt's rewards that its samples dominate."""
    if samples.shape[1] < 2:
        return float("nan")
    low, high = samples.min(axis=0), samples.max(axis=0)
    return hypervolume((samples - low) / (high - low), np.zeros(samples.shape[1]))


def _between(samples: Sequence[FloatArray]) -> list[float]:
    """Share of each reward's variance that lies between prompts, from the mean squares between and within
    prompts (one-way random effects); 0 for a constant reward and for one prompt.

    Means of few samples differ by chance too: their variance in shares of the whole is 1/4 for four samples
    of each prompt if prompts do not matter at all.
    """
    whole, sizes = np.concatenate(samples), np.array([len(own) for own in samples])
    prompts, count = len(samples), len(whole)
    if prompts < 2:
        return [0.0] * whole.shape[1]
    centre = whole.mean(axis=0)
    among = sum(len(own) * (own.mean(axis=0) - centre) ** 2 for own in samples) / (prompts - 1)
    within = sum(((own - own.mean(axis=0)) ** 2).sum(axis=0) for own in samples) / (count - prompts)
    between = ((among - within) / ((count - (sizes**2).sum() / count) / (prompts - 1))).clip(min=0.0)
    differ = varies(whole) & (between + within > 0)
    return np.where(differ, between / np.where(differ, between + within, 1.0), 0.0).tolist()
