"""MACHIAVELLI's ``Trajectory`` read from JSON: the class's own attributes, one object in a file or in a line.

Source: Pan et al. 2023, "Do the rewards justify the means?", and its published code. The code pickles them;
pickles are never opened here, because they can run code (docs/other_games.md explains the conversion to
JSON).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any

from pluralign.core import Decision, InputError, Objective, Step, Trajectory, sum_by_name
from pluralign.core.files import read_json
from pluralign.core.jsonl import Fields, read_rows
from pluralign.games.harms import step_counts
from pluralign.games.machiavelli.counts import (
    Annotation,
    check_annotation,
    lagged_counts,
    scene_annotation,
    summed_counts,
)
from pluralign.games.machiavelli.imported import Imported

NodeAnnotations = Callable[[str], Mapping[str, Annotation]]
"""A function from the name of a game to its annotations by node."""

NO_ACTION = -1
"""Action that the original records where a game has ended."""

END = "THE END!"
"""The line that the original prints there."""

LARGEST = 1e15
"""Largest allowed number of points and largest reward."""

_PICKLE = b"\x80"
"""First byte of a pickle."""


def read_machiavelli(
    path: str | Path,
    objectives: Sequence[Objective],
    *,
    annotations: NodeAnnotations | None = None,
    compatible: bool = False,
) -> Iterator[Imported]:
    """Read a file of trajectories.

    A step counts each label once if a node that it passed has it or, without annotations of nodes, if their
    sum in the file has it. Its points are the difference to the next state. Of the last step the file has
    only the points: the last reward, the only one that the original sets.

    Args:
        path: Path of a JSON object or of JSON lines.
        objectives: Objectives for which rewards are recorded.
        annotations: Annotations of the games' nodes; None to use the sums in the file.
        compatible: Whether to count as the original does (`lagged_counts`), from the sums in the file.

    Raises:
        InputError: The file has an error; the message names the file, the row and the field.
    """
    for fields in _rows(Path(path)):
        yield _read(fields, objectives, annotations, compatible)


def _rows(path: Path) -> Iterator[Fields]:
    try:
        with path.open("rb") as handle:
            first = handle.readline()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    if path.suffix in (".pkl", ".pickle") or first.startswith(_PICKLE):
        raise InputError(
            "is a pickle, which may run code and is not opened: convert it to JSON where it was "
            "written, as docs/other_games.md explains",
            path=path,
        )
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        # An object over several lines, or not JSON.
        yield Fields(read_json(path), path, 1)
        return
    yield from read_rows(path)


@dataclass(frozen=True)
class _Entry:
    """A state and the action taken in it."""

    text: str
    options: tuple[str, ...]
    action: int
    reward: float
    points: float
    max_points: float
    nodes: tuple[str, ...]
    total: Annotation | None


def _read(
    fields: Fields, objectives: Sequence[Objective], annotations: NodeAnnotations | None, compatible: bool
) -> Imported:
    game, agent = fields.get("game_name", str), fields.get("agent_name", str)
    timestamp = fields.get("timestamp", str, "")
    entries = _entries(fields)
    ended = entries[-1].action == NO_ACTION
    left = entries[:-1] if ended else entries
    # The last entry repeats the state before it or, if the original replayed the episode, has its own.
    whole = ended and fields.row["info_list"][-1] != fields.row["info_list"][-2]
    info: dict[str, Any] = {"timestamp": timestamp} if timestamp else {}
    if compatible:
        info["counts"] = "lagged"
        counts = _lagged(entries, ended=ended)
    else:
        info["counts"] = "sums" if annotations is None else "nodes"
        info["last_step"] = "whole" if whole else "points" if ended else "nothing"
        counts = _counts(entries if whole else left, None if annotations is None else annotations(game))
        if not whole:
            counts.append(step_counts((), entries[-1].reward) if ended else {})
    steps = [
        Step(Decision(state.text, state.options), state.action, {o.name: o.reward(c) for o in objectives}, c)
        for state, c in zip(left, counts, strict=True)
    ]
    if ended:
        steps[-1] = replace(steps[-1], outcome=entries[-1].text)
    trajectory = Trajectory(
        id=f"{game}-{agent}-{timestamp or f'{fields.path.stem}-{fields.number}'}",
        source=game,
        policy=agent,
        seed=fields.get("env_seed", int, 0),
        steps=tuple(steps),
        terminated=ended,
        truncated=not ended,
        info=info,
    )
    return Imported(trajectory, entries[0].max_points)


def _counts(states: Sequence[_Entry], annotations: Mapping[str, Annotation] | None) -> list[dict[str, float]]:
    """Counts of the steps from each state to the next."""
    counts: list[dict[str, float]] = []
    for before, after in pairwise(states):
        points = step_counts((), after.points - before.points)
        if annotations is not None:
            passed = [scene_annotation(annotations[node]) for node in after.nodes if node in annotations]
            counts.append(points | step_counts(passed))
        else:
            counts.append(points if after.total is None else points | summed_counts(after.total))
    return counts


def _lagged(entries: Sequence[_Entry], *, ended: bool) -> list[dict[str, float]]:
    """Counts of the original, which counts every entry; one without an action is added to the last step."""
    sums, points = [entry.total for entry in entries], [entry.points for entry in entries]
    counts = lagged_counts([*sums, None], [*points, points[-1]], ended=False)
    return [*counts[:-2], sum_by_name(counts[-2:])] if ended else counts


def _entries(fields: Fields) -> list[_Entry]:
    texts, actions = fields.texts("obs_list"), fields.ints("action_list")
    rewards, infos = fields.get("reward_list", list), fields.get("info_list", list)
    lengths = (len(texts), len(actions), len(rewards), len(infos))
    if len(set(lengths)) > 1:
        found = ", ".join(map(str, lengths))
        raise fields.fail(
            "info_list", f"expected equal numbers of observations, actions, rewards and infos; found {found}"
        )
    if not actions or actions[0] == NO_ACTION:
        raise fields.fail("action_list", "has no action")
    entries: list[_Entry] = []
    for index, (text, action, info) in enumerate(zip(texts, actions, infos, strict=True)):
        last = index == len(texts) - 1
        reward = _number(fields, f"reward_list[{index}]", rewards[index])
        with _part(fields, f"info_list[{index}]", info) as row:
            entry = _entry(row, text, action, reward)
        if not (last and action == NO_ACTION):
            if not 0 <= action < len(entry.options):
                message = f"must be one of {len(entry.options)} options, from 0; found {action}"
                raise fields.fail(f"action_list[{index}]", message)
        else:
            entry = replace(entry, text=text.strip().removesuffix(END).strip())
        entries.append(entry)
    return entries


def _entry(row: Fields, text: str, action: int, reward: float) -> _Entry:
    max_points = _number(row, "max_points", row.get("max_points", (int, float)))
    found = row.get("annotations", (dict, NoneType), None)
    with _part(row, "annotations", found or {}):
        total = None if found is None else check_annotation(found)
    with _part(row, "game_state", row.get("game_state", dict)) as state:
        count, raw = state.get("num_choices", int), state.texts("choice_texts")
        if len(raw) != count:
            raise state.fail("choice_texts", f"expected {count} texts, found {len(raw)}")
        prompt, options = split_observation(text, raw)
        points = _number(state, "points", state.get("points", (int, float)))
        nodes = state.texts("current_nodes") if "current_nodes" in state.row else ()
    return _Entry(prompt, options, action, reward, points, max_points, nodes, total)


def split_observation(text: str, raw: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Split an observation into the prompt and the options listed at its end, ``INDEX: TEXT`` per line.

    Args:
        text: Observed text, with the story's variables filled in.
        raw: Options as in the source, used if the end of the text does not list the same number of options.

    Returns:
        Prompt and options.
    """
    lines = text.rstrip().split("\n")
    start = len(lines) - len(raw)
    listed = [line.partition(":") for line in lines[max(start, 0) :]]
    if start < 0 or not raw or [number for number, _, _ in listed] != [str(i) for i in range(len(raw))]:
        return text.strip(), tuple(raw)
    return "\n".join(lines[:start]).strip(), tuple(option.strip() for _, _, option in listed)


def _number(fields: Fields, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        raise fields.fail(name, f"expected a number of 0 or more, found {value!r:.60}")
    return float(value)


@contextlib.contextmanager
def _part(fields: Fields, name: str, value: Any) -> Generator[Fields]:
    """A part of a row; its errors name the part."""
    try:
        yield Fields(value, fields.path, fields.number)
    except InputError as error:
        raise fields.fail(f"{name}.{error.field}" if error.field else name, error.message) from error
