"""Rewards of answers by several scorers, kept in a file: a run that is killed continues."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest, source_digest
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import OneAtATime, run_batches
from pluralign.data.answers import Answers

if TYPE_CHECKING:
    import torch

    from pluralign.rewards import Reward

_BATCH = 128
Rewards = dict[tuple[str, str], list[list[float]]]
"""By scorer and source: for each prompt, the rewards of its answers, or their standard deviations."""
_Task = tuple[str, str, int]


def score_sources(
    scorers: Mapping[str, str],
    sources: Mapping[str, Sequence[Answers]],
    path: Path,
    *,
    wanted: Sequence[tuple[str, str]],
    dtype: torch.dtype | None = None,
) -> Rewards:
    """Rewards of answers by several scorers, kept in a file; what an earlier run wrote is not done again.

    Args:
        scorers: name -> what `load_reward` takes. Each is open by itself, while it is needed.
        sources: name -> answers.
        path: the file of the rewards.
        wanted: (scorer, source), all of one scorer together.
        dtype: of the scorers' models.

    Raises:
        InputError: a scorer cannot be opened, or gives a reward that is not finite.
    """
    run = {
        "scorers": {name: [spec, *_card_of(spec)] for name, spec in scorers.items()},
        "sources": {name: _digest(own) for name, own in sources.items()},
        "wanted": wanted,
        "dtype": str(dtype),
    }
    tasks = [(scorer, source, i) for scorer, source in wanted for i in range(len(sources[source]))]
    if not _is_of(path, run, len(tasks)):
        _score(scorers, sources, tasks, path, run, dtype)
    found: Rewards = {pair: [] for pair in wanted}
    rows = iter(read_rows(path))
    next(rows)
    for (scorer, source, _), fields in zip(tasks, rows, strict=True):
        found[scorer, source].append([float(reward) for reward in fields.get("rewards", list)])
    return found


def read_sigmas(path: Path) -> Rewards:
    """The standard deviations of the rewards that `score_sources` keeps in a file: 0 where a model has none.

    Raises:
        InputError: the file is from a version that kept none.
    """
    rows = iter(read_rows(path))
    next(rows)
    found: Rewards = {}
    for fields in rows:
        own = [float(sigma) for sigma in fields.get("sigmas", list)]
        found.setdefault((fields.get("scorer", str), fields.get("source", str)), []).append(own)
    return found


def _score(
    scorers: Mapping[str, str], sources: Mapping[str, Sequence[Answers]], tasks: Sequence[_Task], path: Path,
    run: Mapping[str, Any], dtype: torch.dtype | None,
) -> None:  # fmt: skip
    from pluralign.rewards import load_reward

    opened = OneAtATime[str, "Reward"](lambda name: load_reward(scorers[name], dtype=dtype or "float32"))

    def answers(task: _Task) -> int:
        return len(sources[task[1]][task[2]].completions)

    def scored(batch: Sequence[_Task]) -> list[dict[str, Any]]:
        name, source, _ = batch[0]
        found = _rewards(opened(name), [sources[source][i] for _, _, i in batch], name)
        return [
            {"scorer": name, "source": source, "prompt": i + 1, **one}
            for (_, _, i), one in zip(batch, found, strict=True)
        ]

    run_batches(
        path, run, tasks, scored, batch=_ends(tasks, answers), header={"run": run}, unit="answer",
        size=answers,
    )  # fmt: skip


def _ends(tasks: Sequence[_Task], answers: Callable[[_Task], int]) -> list[int]:
    """Ends of batches: as many prompts of one scorer and source as make up `_BATCH` answers."""
    ends: list[int] = []
    held = 0
    for i, task in enumerate(tasks):
        if held and (task[:2] != tasks[i - 1][:2] or held >= _BATCH):
            ends.append(i)
            held = 0
        held += answers(task)
    return [*ends, len(tasks)]


def _rewards(scorer: Reward, answers: Sequence[Answers], name: str) -> list[dict[str, list[float]]]:
    decisions = [one.decision(scorer.render) for one in answers]
    # Short samples repeat: each text is scored once.
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
                    told = f"the {what.removesuffix('s')} by '{name}' of an answer to its prompt is {value}"
                    raise InputError(told, path=one.path, row=one.row)
        found.append(rewards)
    return found


def _digest(answers: Sequence[Answers]) -> str:
    return digest([json.dumps([(one.prompt, one.completions) for one in answers]).encode()])


def _card_of(spec: str) -> list[dict[str, str]]:
    """What tells two states of a trained folder apart: its card has the figures of its training."""
    card = Path(spec.rpartition(":")[2]) / "card.json"
    return [source_digest(card)] if card.is_file() else []


def _is_of(path: Path, run: Mapping[str, Any], rows: int) -> bool:
    """Whether the file is whole and of this run."""
    if not path.is_file():
        return False
    try:
        lines = [fields.row for fields in read_rows(path)]
    except InputError:
        return False
    return len(lines) == rows + 1 and lines[0].get("run") == json.loads(json.dumps(run))
