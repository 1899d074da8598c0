"""Texts of mixtures and alternatives under every weighting, and their rewards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.digests import digest
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import OneAtATime, run_batches
from pluralign.core.splits import seed_for
from pluralign.lm.decoding import Decoding
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.policy_rows import PolicyRows
from pluralign.steer.requests import Request

Weighting = SteeringWeights | None
"""Weights; None for a side without weights, the base model."""


@dataclass(frozen=True)
class Draw:
    """A text to be generated.

    Args:
        prompt: Index of the prompt.
        weights: Weighting.
        seed: Random seed of the text.
    """

    prompt: int
    weights: Weighting
    seed: int


@dataclass(frozen=True)
class _Task:
    group: int
    draw: Draw
    sample: int


Writer = Callable[[Sequence[Draw]], list[str]]
Score = Callable[[str, Sequence[Sequence[str]]], Mapping[str, Sequence[Sequence[float]]]]
"""Function from a side's name and every prompt's completions to their rewards, by objective."""


@dataclass(frozen=True)
class Side:
    """A method that generates texts for weightings.

    Args:
        label: Name in the report.
        groups: Weightings; those of one group are generated together.
        open: Function that opens a group's writer; the previous one is not used afterwards.
        made_from: Everything that the texts depend on besides weightings, prompts and seed; files that were
            started with other values are not continued.
        batch: Number of texts that are generated together.
    """

    label: str
    groups: Sequence[Sequence[Weighting]]
    open: Callable[[Sequence[Weighting]], Writer]
    made_from: Mapping[str, Any] = field(default_factory=dict[str, Any])
    batch: int = 64

    @property
    def file(self) -> str:
        """The label as a file name."""
        return file_name(self.label)


@dataclass(frozen=True, eq=False)
class TextPoint:
    """Texts of a side under one weighting, with rewards.

    Args:
        side: Name of the side.
        weights: Weighting.
        rewards: Mean reward over the samples of each prompt, by objective, shape (prompts,).
        texts: Samples of each prompt.
    """

    side: str
    weights: Weighting
    rewards: Mapping[str, FloatArray]
    texts: Sequence[Sequence[str]]

    def array(self, objectives: Sequence[str]) -> FloatArray:
        """Rewards in the order of these objectives, shape (prompts, objectives)."""
        return np.stack([self.rewards[name] for name in objectives], axis=1)


def file_name(label: str) -> str:
    """A side's label as a file name, without suffix."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def text_sweep(
    prompts: Sequence[str], sides: Sequence[Side], score: Score, *, samples: int, seed: int, folder: Path,
    progress: bool = True,
) -> list[TextPoint]:  # fmt: skip
    """Generate texts of every side for all prompts and weightings, with the same seeds under each, and score
    them.

    Each side's texts are in a file, ``texts/SIDE.jsonl``, which an interrupted run continues. Adding a side
    later does not change the others' files.

    Args:
        prompts: Distinct texts; a sample's seed depends only on its prompt and its number.
        sides: Sides with distinct names.
        score: Function that scores completions.
        samples: Number of samples per prompt and weighting.
        seed: Random seed of the samples.
        folder: Folder of the files.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        InputError: There is no prompt, two sides have the same name, a weighting occurs twice, or a file is
            that of another sweep.
    """
    if not prompts or len(set(prompts)) < len(prompts):
        raise InputError(f"expected one or more distinct prompts, found {len(prompts)}", field="prompts")
    if samples < 1:
        raise InputError(f"must be at least 1, found {samples}", field="samples")
    if len({side.file for side in sides}) < len(sides):
        raise InputError(f"two sides have the same name: {', '.join(side.label for side in sides)}")
    for side in sides:
        weightings = [weights for group in side.groups for weights in group]
        if not weightings or len(set(weightings)) < len(weightings):
            raise InputError(f"{side.label!r} has {len(weightings)} weightings, which are not all distinct")
    points: list[TextPoint] = []
    for side in sides:
        path = folder / "texts" / f"{side.file}.jsonl"
        written = _write_texts(side, prompts, samples, seed, path, progress)
        flat = [[text for own in written.values() for text in own[i]] for i in range(len(prompts))]
        rewards = score(side.label, flat)
        for number, (weights, texts) in enumerate(written.items()):
            place = slice(number * samples, (number + 1) * samples)
            means = {
                name: np.array([float(np.mean(row[place])) for row in rows]) for name, rows in rewards.items()
            }
            points.append(TextPoint(side.label, weights, means, texts))
    return points


def weighted_writer(
    rows: PolicyRows, power: float, request: Callable[[Draw], tuple[Sequence[int], SteeringWeights]],
    decoding: Decoding, lead: Callable[[Draw], str] = lambda draw: "",
) -> Writer:  # fmt: skip
    """A writer that decodes policies together, each text under its own weights.

    Args:
        rows: Rows of the policies.
        power: Power of the mixture.
        request: Function from a text to its prompt's token ids and the policies' weights.
        decoding: Sampling settings; each text has its own seed.
        lead: Function from a text to its template's text before the answer, which is not part of the answer.
    """
    decoder = MixtureDecoder(rows, power)

    def write(draws: Sequence[Draw]) -> list[str]:
        return decoder.generate(
            [Request(*request(draw), decoding, draw.seed, lead(draw), joined=True) for draw in draws]
        )

    return write


def _write_texts(
    side: Side, prompts: Sequence[str], samples: int, seed: int, path: Path, progress: bool
) -> dict[Weighting, list[list[str]]]:
    """Samples of every prompt, by weighting."""
    tasks = [
        _Task(number, Draw(prompt, weights, seed_for(f"{sample} {text}", seed)), sample)
        for number, group in enumerate(side.groups)
        for prompt, text in enumerate(prompts)
        for weights in group
        for sample in range(samples)
    ]
    run = {
        "side": side.label, "samples": samples, "seed": seed, "prompts": list(prompts),
        "groups": [[_as_json(weights) for weights in group] for group in side.groups], **side.made_from,
    }  # fmt: skip
    mark = digest([json.dumps(run, default=str).encode()], size=8)
    if not path.exists():
        _write_file(side, tasks, prompts, path, mark, progress)
    found: dict[Weighting, list[list[str]]] = {
        weights: [[] for _ in prompts] for group in side.groups for weights in group
    }
    rows = list(read_rows(path))
    if len(rows) != len(tasks) or any(fields.row.get("run") != mark for fields in rows):
        raise InputError("holds texts of another sweep; choose another folder", path=path)
    for task, fields in zip(tasks, rows, strict=True):
        found[task.draw.weights][task.draw.prompt].append(fields.get("completion", str))
    return found


def _write_file(
    side: Side, tasks: Sequence[_Task], prompts: Sequence[str], path: Path, mark: str, progress: bool
) -> None:
    writers = OneAtATime[int, Writer](lambda group: side.open(side.groups[group]))

    def write(batch: Sequence[_Task]) -> list[dict[str, Any]]:
        texts = writers(batch[0].group)([task.draw for task in batch])
        return [
            {
                "run": mark, "side": side.label, "weights": _as_json(task.draw.weights),
                "prompt": prompts[task.draw.prompt], "draw": task.sample, "completion": text,
            }
            for task, text in zip(batch, texts, strict=True)
        ]  # fmt: skip

    run_batches(
        path, {"run": mark}, tasks, write, batch=_ends(tasks, side.batch), label=side.label, unit="text",
        shown=progress,
    )  # fmt: skip


def _ends(tasks: Sequence[_Task], batch: int) -> list[int]:
    """Ends of batches; each batch has tasks of one group."""
    ends: list[int] = []
    for _, group in groupby(tasks, key=lambda task: task.group):
        start = ends[-1] if ends else 0
        stop = start + len(list(group))
        ends += [*range(start + batch, stop, batch), stop]
    return ends


def _as_json(weights: Weighting) -> dict[str, float] | None:
    return None if weights is None else dict(weights)
