"""Scoring of answers with several reward models; results are kept in a file, and interrupted runs
continue."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import OneAtATime, run_batches
from pluralign.data.answers import Answers
from pluralign.lm.backbone import resolve_dtype
from pluralign.lm.completion_trees import describe_cuts
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.open import Scorer, load_reward, require_reward, reward_identity
from pluralign.rewards.reward import Reward, template_of

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
_BATCH = 128
AnswerRewards = dict[tuple[str, str], list[list[float]]]
"""Rewards of each prompt's answers, or their standard deviations, by scorer and source."""
_Task = tuple[str, str, int]


def score_sources(
    scorers: Mapping[str, Scorer],
    sources: Mapping[str, Sequence[Answers]],
    path: Path,
    *,
    wanted: Sequence[tuple[str, str]],
    dtype: DTypeName = "float32",
) -> AnswerRewards:
    """Score answers with several reward models; rewards that are in the file are not computed again.

    Args:
        scorers: Reward models by name. Those given by name or folder are loaded only while needed.
        sources: Answers by name of their source.
        path: JSON-lines file of the rewards.
        wanted: Pairs of scorer and source; pairs of one scorer are contiguous.
        dtype: Precision of reward models that are loaded here.

    Raises:
        InputError: A reward model cannot be loaded, or gives a reward that is not finite.
    """
    # Files of rewards call float32 None.
    precision = None if dtype == "float32" else resolve_dtype(dtype)
    run = {
        "scorers": {name: reward_identity(scorer) for name, scorer in scorers.items()},
        "sources": {name: _digest(own) for name, own in sources.items()},
        "wanted": wanted,
        "dtype": str(precision),
    }
    tasks = [(scorer, source, i) for scorer, source in wanted for i in range(len(sources[source]))]
    if not _is_of(path, run, len(tasks)):
        _score(scorers, sources, tasks, path, run, precision)
    found: AnswerRewards = {pair: [] for pair in wanted}
    rows = iter(read_rows(path))
    next(rows)
    for (scorer, source, _), fields in zip(tasks, rows, strict=True):
        found[scorer, source].append([float(reward) for reward in fields.get("rewards", list)])
    return found


def read_sigmas(path: Path) -> AnswerRewards:
    """Standard deviations of the rewards in a file of `score_sources`; 0 if a model does not estimate them.

    Raises:
        InputError: The file was written by a version without standard deviations.
    """
    rows = iter(read_rows(path))
    next(rows)
    found: AnswerRewards = {}
    for fields in rows:
        own = [float(sigma) for sigma in fields.get("sigmas", list)]
        found.setdefault((fields.get("scorer", str), fields.get("source", str)), []).append(own)
    return found


def _score(
    scorers: Mapping[str, Scorer], sources: Mapping[str, Sequence[Answers]], tasks: Sequence[_Task],
    path: Path, run: Mapping[str, Any], dtype: torch.dtype | None,
) -> None:  # fmt: skip
    for scorer in scorers.values():
        if isinstance(scorer, str | Path):
            # A mistake in the last one is found before the first one is run.
            require_reward(scorer)
    opened = OneAtATime[str, Reward](lambda name: _opened(scorers[name], dtype))
    counts: dict[str, Mapping[str, int]] = {}

    def answers(task: _Task) -> int:
        return len(sources[task[1]][task[2]].completions)

    def scored(batch: Sequence[_Task]) -> list[dict[str, Any]]:
        name, source, _ = batch[0]
        found = _rewards(opened(name), [sources[source][i] for _, _, i in batch], name)
        counts[name] = opened(name).counts
        return [
            {"scorer": name, "source": source, "prompt": i + 1, **one}
            for (_, _, i), one in zip(batch, found, strict=True)
        ]

    run_batches(
        path, run, tasks, scored, batch=_ends(tasks, answers), header={"run": run}, unit="answer",
        size=answers,
    )  # fmt: skip
    for name, own in counts.items():
        if cuts := describe_cuts(own):
            _log.warning("rewards by %s: %s", name, cuts)


def _ends(tasks: Sequence[_Task], answers: Callable[[_Task], int]) -> list[int]:
    """Ends of batches: the number of prompts of one scorer and source that make up `_BATCH` answers."""
    ends: list[int] = []
    held = 0
    for i, task in enumerate(tasks):
        if held and (task[:2] != tasks[i - 1][:2] or held >= _BATCH):
            ends.append(i)
            held = 0
        held += answers(task)
    return [*ends, len(tasks)]


def _rewards(scorer: Reward, answers: Sequence[Answers], name: str) -> list[dict[str, list[float]]]:
    template = template_of(scorer)
    decisions = [one.decision(template) for one in answers]
    # Short samples repeat, so each text is scored once.
    distinct = [Decision(d.prompt, tuple(dict.fromkeys(d.options))) for d in decisions]
    found: list[dict[str, list[float]]] = []
    for one, decision, unique, scored in zip(
        answers, decisions, distinct, scorer.score_decisions(distinct), strict=True
    ):
        places = {text: i for i, text in enumerate(unique.options)}
        own = [places[text] for text in decision.options]
        rewards = {"rewards": scored.mean[own].tolist(), "sigmas": scored.sigma[own].tolist()}
        for what, values in rewards.items():
            for value in values:
                if not math.isfinite(value):
                    message = (
                        f"the {what.removesuffix('s')} by '{name}' of an answer to its prompt is {value}"
                    )
                    raise InputError(message, path=one.path or None, row=one.row)
        found.append(rewards)
    return found


def _digest(answers: Sequence[Answers]) -> str:
    return digest([json.dumps([(one.prompt, one.completions) for one in answers]).encode()])


def _opened(scorer: Scorer, dtype: torch.dtype | None) -> Reward:
    return load_reward(scorer, dtype=dtype or "float32") if isinstance(scorer, str | Path) else scorer


def _is_of(path: Path, run: Mapping[str, Any], rows: int) -> bool:
    """Whether the file is complete and belongs to this run."""
    if not path.is_file():
        return False
    try:
        lines = [fields.row for fields in read_rows(path)]
    except InputError:
        return False
    return len(lines) == rows + 1 and lines[0].get("run") == json.loads(json.dumps(run))
