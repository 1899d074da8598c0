"""Scoring of answers with several reward models; results are kept in a file, and interrupted runs
continue."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.core.files import check_beginning
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
        wanted: Pairs of scorer and source.
        dtype: Precision of reward models that are loaded here.

    Raises:
        InputError: A reward model cannot be loaded, or gives a reward that is not finite; or the file exists
            and is no such file.
    """
    # Files of rewards call float32 None.
    precision = None if dtype == "float32" else resolve_dtype(dtype)
    run = {
        "scorers": {name: reward_identity(scorer) for name, scorer in scorers.items()},
        "sources": {name: _digest(own) for name, own in sources.items()},
        "wanted": wanted,
        "dtype": str(precision),
        "order": "prompts",
    }
    tasks = _tasks(sources, wanted)
    if not _is_of(path, run, len(tasks)):
        if path.is_file():
            check_beginning(path, b'{"run": ', "a file of kept rewards, which are written there")
        _score(scorers, sources, tasks, path, run, precision)
    found = _read(path, "rewards")
    return {pair: found.get(pair, []) for pair in wanted}


def read_sigmas(path: Path) -> AnswerRewards:
    """Standard deviations of the rewards in a file of `score_sources`; 0 if a model does not estimate them.

    Raises:
        InputError: The file was written by a version without standard deviations.
    """
    return _read(path, "sigmas")


def _read(path: Path, field: str) -> AnswerRewards:
    """A field of the rows, in the order of the sources' prompts."""
    rows = iter(read_rows(path))
    next(rows)
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for fields in rows:
        own = found.setdefault((fields.get("scorer", str), fields.get("source", str)), {})
        own[fields.get("prompt", int)] = [float(value) for value in fields.get(field, list)]
    return {pair: [own[number] for number in sorted(own)] for pair, own in found.items()}


def _tasks(sources: Mapping[str, Sequence[Answers]], wanted: Sequence[tuple[str, str]]) -> list[_Task]:
    """What is to be scored, by scorer and then by prompt: sources share prompts, which are read once."""
    scorers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in wanted))}
    prompts: dict[str, int] = {}
    found: list[tuple[tuple[int, int], _Task]] = []
    for scorer, source in wanted:
        for i, one in enumerate(sources[source]):
            prompt = prompts.setdefault(json.dumps(one.prompt), len(prompts))
            found.append(((scorers[scorer], prompt), (scorer, source, i)))
    return [task for _, task in sorted(found, key=lambda one: one[0])]


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
        name = batch[0][0]
        found = _rewards(opened(name), [sources[source][i] for _, source, i in batch], name)
        counts[name] = opened(name).counts
        return [
            {"scorer": name, "source": source, "prompt": i + 1, **one}
            for (_, source, i), one in zip(batch, found, strict=True)
        ]

    run_batches(
        path, run, tasks, scored, batch=_ends(tasks, sources), header={"run": run}, unit="answer",
        size=answers,
    )  # fmt: skip
    for name, own in counts.items():
        if cuts := describe_cuts(own):
            _log.warning("rewards by %s: %s", name, cuts)


def _ends(tasks: Sequence[_Task], sources: Mapping[str, Sequence[Answers]]) -> list[int]:
    """Ends of batches of one scorer: as many whole prompts as make up `_BATCH` answers."""
    ends: list[int] = []
    held = 0
    for i, (scorer, source, number) in enumerate(tasks):
        one = sources[source][number]
        if held and i:
            last, other, row = tasks[i - 1]
            if scorer != last or (held >= _BATCH and one.prompt != sources[other][row].prompt):
                ends.append(i)
                held = 0
        held += len(one.completions)
    return [*ends, len(tasks)]


def _rewards(scorer: Reward, answers: Sequence[Answers], name: str) -> list[dict[str, list[float]]]:
    template = template_of(scorer)
    decisions = [one.decision(template) for one in answers]
    # Sources share prompts, and short samples repeat: each prompt is read once, and each text scored once.
    distinct: dict[str, dict[str, int]] = {}
    for decision in decisions:
        places = distinct.setdefault(decision.prompt, {})
        for text in decision.options:
            places.setdefault(text, len(places))
    joined = scorer.score_decisions([Decision(prompt, tuple(texts)) for prompt, texts in distinct.items()])
    known = dict(zip(distinct, joined, strict=True))
    found: list[dict[str, list[float]]] = []
    for one, decision in zip(answers, decisions, strict=True):
        own = [distinct[decision.prompt][text] for text in decision.options]
        scored = known[decision.prompt]
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
