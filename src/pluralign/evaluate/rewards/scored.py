"""Scoring of answers with several reward models; results are kept in a file, and interrupted runs
continue."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.core import Decision, InputError
from pluralign.core.digests import digest
from pluralign.core.files import check_beginning
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import OneAtATime, run_batches
from pluralign.data.answers import Answers
from pluralign.data.columns import columns_of
from pluralign.lm.backbone import resolve_dtype
from pluralign.lm.completion_trees import describe_cuts
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import Scorer, reward_identity
from pluralign.rewards.open import load_rewards, require_reward, shared_trunk
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.together import score_together, trunk_key

if TYPE_CHECKING:
    import torch

_log = logging.getLogger(__name__)
_BATCH = 128
AnswerRewards = dict[tuple[str, str], list[list[float]]]
"""Rewards of each prompt's answers, or their standard deviations, by scorer and source."""
_Task = tuple[str, str, int]
_Groups = Mapping[str, Sequence[str]]


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
        scorers: Reward models by name. Those given by name or folder are loaded only while needed: one at a
            time, or those together that have the lower layers of a trunk in common (`load_rewards`).
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
    run: dict[str, Any] = {
        "scorers": {name: reward_identity(scorer) for name, scorer in scorers.items()},
        "sources": {name: _digest(own) for name, own in sources.items()},
        "wanted": wanted,
        "dtype": str(precision),
        "order": "prompts",
    }
    groups = _groups({name: scorers[name] for name, _ in wanted})
    if any(len(names) > 1 for names in groups.values()):
        # As the rows follow each other; files of single scorers are as before.
        run["together"] = list({id(names): names for names in groups.values()}.values())
    tasks = _tasks(sources, wanted, groups)
    if not _is_of(path, run, len(tasks)):
        if path.is_file():
            check_beginning(path, b'{"run": ', "a file of kept rewards, which are written there")
        _score(scorers, sources, tasks, path, run, precision, groups)
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


def _groups(scorers: Mapping[str, Scorer]) -> _Groups:
    """For each scorer the names of those that score together, itself among them."""
    groups: dict[Any, list[str]] = {}
    for name, scorer in scorers.items():
        key = shared_trunk(scorer) if isinstance(scorer, str | Path) else trunk_key(scorer)
        groups.setdefault(name if key is None else key, []).append(name)
    return {name: names for names in groups.values() for name in names}


def _tasks(
    sources: Mapping[str, Sequence[Answers]], wanted: Sequence[tuple[str, str]], groups: _Groups
) -> list[_Task]:
    """What is to be scored, by group of scorers, prompt and scorer: sources share prompts, which are read
    once."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in wanted))}
    prompts: dict[str, int] = {}
    found: list[tuple[tuple[int, int, int], _Task]] = []
    for scorer, source in wanted:
        for i, one in enumerate(sources[source]):
            prompt = prompts.setdefault(json.dumps(one.prompt), len(prompts))
            found.append(((numbers[groups[scorer][0]], prompt, numbers[scorer]), (scorer, source, i)))
    return [task for _, task in sorted(found, key=lambda one: one[0])]


def _score(
    scorers: Mapping[str, Scorer], sources: Mapping[str, Sequence[Answers]], tasks: Sequence[_Task],
    path: Path, run: Mapping[str, Any], dtype: torch.dtype | None, groups: _Groups,
) -> None:  # fmt: skip
    for scorer in scorers.values():
        if isinstance(scorer, str | Path):
            # A mistake in the last one is found before the first one is run.
            require_reward(scorer)
    opened = OneAtATime[str, dict[str, Reward]](
        lambda first: load_rewards({n: scorers[n] for n in groups[first]}, dtype=dtype or "float32")
    )
    counts: dict[str, Counter[str]] = {name: Counter() for name in scorers}

    def answers(task: _Task) -> int:
        return len(sources[task[1]][task[2]].completions)

    def scored(batch: Sequence[_Task]) -> list[dict[str, Any]]:
        loaded = opened(groups[batch[0][0]][0])
        asked: dict[str, list[Answers]] = {}
        for name, source, i in batch:
            asked.setdefault(name, []).append(sources[source][i])
        # A loaded reward counts all that it has ever read.
        before = {name: Counter(loaded[name].counts) for name in asked}
        found = _rewards({name: loaded[name] for name in asked}, asked)
        for name in asked:
            counts[name] += Counter(loaded[name].counts) - before[name]
        rows = {name: iter(own) for name, own in found.items()}
        return [
            {"scorer": name, "source": source, "prompt": i + 1, **next(rows[name])}
            for name, source, i in batch
        ]

    run_batches(
        path, run, tasks, scored, batch=_ends(tasks, sources, groups), header={"run": run}, unit="answer",
        size=answers,
    )  # fmt: skip
    for name, own in counts.items():
        if cuts := describe_cuts(own):
            _log.warning("rewards by %s: %s", name, cuts)


def _ends(
    tasks: Sequence[_Task], sources: Mapping[str, Sequence[Answers]], groups: _Groups
) -> list[int]:  # fmt: skip
    """Ends of batches of one group of scorers: as many whole prompts as make up `_BATCH` answers for each."""
    ends: list[int] = []
    held = 0
    for i, (scorer, source, number) in enumerate(tasks):
        one = sources[source][number]
        if held and i:
            last, other, row = tasks[i - 1]
            if groups[scorer] != groups[last] or (
                held >= _BATCH * len(groups[last]) and one.prompt != sources[other][row].prompt
            ):
                ends.append(i)
                held = 0
        held += len(one.completions)
    return [*ends, len(tasks)]


def _rewards(
    scorers: Mapping[str, Reward], answers: Mapping[str, Sequence[Answers]]
) -> dict[str, list[dict[str, list[float]]]]:
    decisions = {
        name: [one.decision(template_of(scorers[name])) for one in own] for name, own in answers.items()
    }
    # Sources share prompts, and short samples repeat: each prompt is read once, and each text scored once.
    places = {name: _distinct(own) for name, own in decisions.items()}
    asked = {
        name: [Decision(prompt, tuple(texts)) for prompt, texts in own.items()]
        for name, own in places.items()
    }
    found: dict[str, list[dict[str, list[float]]]] = {}
    for name, joined in score_together(scorers, asked).items():
        known = dict(zip(places[name], joined, strict=True))
        for one, decision in zip(answers[name], decisions[name], strict=True):
            own = [places[name][decision.prompt][text] for text in decision.options]
            scored = known[decision.prompt]
            rewards = {"rewards": scored.mean[own].tolist(), "sigmas": scored.sigma[own].tolist()}
            _require_finite(rewards, name, one)
            found.setdefault(name, []).append(rewards)
    return found


def _distinct(decisions: Sequence[Decision]) -> dict[str, dict[str, int]]:
    """Places of the distinct texts of each prompt."""
    found: dict[str, dict[str, int]] = {}
    for decision in decisions:
        places = found.setdefault(decision.prompt, {})
        for text in decision.options:
            places.setdefault(text, len(places))
    return found


def _require_finite(rewards: Mapping[str, Sequence[float]], name: str, answers: Answers) -> None:
    for what, values in rewards.items():
        for value in values:
            if not math.isfinite(value):
                message = f"the {what.removesuffix('s')} by '{name}' of an answer to its prompt is {value}"
                raise InputError(message, path=answers.path or None, row=answers.row)


def _digest(answers: Sequence[Answers]) -> str:
    # A prompt's tools are no part of its messages. Without any, files of earlier versions are as before.
    read = [(one.prompt, one.completions, *filter(None, [columns_of(one.prompt)])) for one in answers]
    return digest([json.dumps(read).encode()])


def _is_of(path: Path, run: Mapping[str, Any], rows: int) -> bool:
    """Whether the file is complete and belongs to this run."""
    if not path.is_file():
        return False
    try:
        lines = [fields.row for fields in read_rows(path)]
    except InputError:
        return False
    return len(lines) == rows + 1 and lines[0].get("run") == json.loads(json.dumps(run))
