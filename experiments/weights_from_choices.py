"""Weights inferred from choices: simulated people, rules, stories, 559 real people (docs/papers.md).

    python experiments/weights_from_choices.py --data DIR --out runs/weights

DIR contains ``value_choices/`` and ``moralchoice/``; without it, these parts are left out. An interrupted run
continues: each part, story and seed has its own file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from console import say, write_page, wrote
from weights_lib import people, planted, rules, stories
from weights_lib.tables import (
    dial_lines,
    misspecified_lines,
    people_lines,
    planted_lines,
    rule_lines,
    story_lines,
)

from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import estimate, wilson
from pluralign.games.choicescript.load import list_stories
from pluralign.workflows.main_job import JobSettings

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        out: Working folder; ``experiments/stories.py --out`` of the same name leaves agents that are used.
        data: Folder with ``value_choices/`` and ``moralchoice/``.
        agents: Folder of the stories' agents.
        seeds: Number of training seeds of the stories' agents.
        stories: Names of the stories.
        job: Other settings of the stories' agents.
        simulated: Number of simulated people for each number of objectives.
        pool: Number of questions to choose from for simulated people.
        repeats: Number of times that each user of a story answers.
        halvings: Number of random halvings of the real people.
        results: Folder of the result files.
    """

    out: Path = Path("runs/weights")
    data: Path | None = None
    agents: Path = Path("runs/stories")
    seeds: int = 3
    stories: tuple[str, ...] = tuple(list_stories())
    job: JobSettings = field(default_factory=JobSettings)
    simulated: int = 120
    pool: int = 1000
    repeats: int = 6
    halvings: int = 6
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure all parts, and write the tables as results come."""
    parts: Row = {}

    def measured(name: str, measure: Callable[[], Any]) -> None:
        path = settings.out / f"{name}.json"
        if not path.exists():
            say(name)
            write_json(path, measure())
        parts[name] = read_json(path)
        write_results(parts, settings)

    for objectives in (2, 3, 5):
        measured(f"planted-{objectives}", lambda k=objectives: _planted(k, settings))
    measured("misspecified", lambda: planted.misspecified(max(1, settings.simulated // 3)))
    if settings.data is not None:
        folder = settings.data / "value_choices"
        measured("people", lambda: people.measure(folder, settings.halvings))
        cases = settings.data / "moralchoice"
        measured("rules", lambda: list(rules.measure(cases)))
    for seed, story in product(range(1, settings.seeds + 1), settings.stories):
        measured(f"{story}-{seed}", lambda story=story, seed=seed: _story(story, seed, settings))
        measured(f"{story}-{seed}-dials", lambda story=story, seed=seed: _dials(story, seed, settings))
    wrote(settings.results / "weights_from_choices.md", f"{len(parts)} parts")


def _planted(objectives: int, settings: Settings) -> list[Row]:
    rows: list[Row] = []
    for seed in range(settings.simulated):
        rows += planted.measure(objectives, seed, settings.pool)
    return rows


def _story(story: str, seed: int, settings: Settings) -> list[Row]:
    job = stories.agents(story, seed, settings.agents, settings.job)
    return list(stories.measure(job, settings.repeats))


def _dials(story: str, seed: int, settings: Settings) -> list[Row]:
    return list(stories.measure_dials(stories.agents(story, seed, settings.agents, settings.job)))


def write_results(parts: Row, settings: Settings) -> None:
    """``weights_from_choices.json`` (means) and ``weights_from_choices.md``."""
    tables = {
        "planted": [row for name in parts if name.startswith("planted") for row in _of_planted(parts[name])],
        "misspecified": parts.get("misspecified"),
        "people": parts.get("people"),
        "rules": list(_of_rules(parts.get("rules", []))),
        "stories": list(_of_stories(parts, settings)),
        "dials": list(_of_dials(parts, settings)),
    }
    write_json(settings.results / "weights_from_choices.json", tables)
    lines = ["# Weights from choices", "", "`python experiments/weights_from_choices.py --data DIR`"]
    lines += planted_lines(tables["planted"], settings.pool)
    lines += misspecified_lines(tables["misspecified"])
    lines += rule_lines(tables["rules"])
    lines += people_lines(tables["people"])
    lines += story_lines(tables["stories"], settings.repeats)
    lines += dial_lines(tables["dials"])
    write_page(settings.results / "weights_from_choices.md", lines)


def _of_planted(rows: list[Row]) -> Iterator[Row]:
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["objectives"], row["way"], row["questions"]].append(row)
    for (objectives, way, questions), own in groups.items():
        means = {name: estimate([row[name] for row in own if not np.isnan(row[name] or 0.0)]).to_json()
                 for name in ("error", "regret", "covered", "decided")}  # fmt: skip
        sure = [(row["decided"], row["right"]) for row in own if row["decided"] and row["right"] is not None]
        right = float(np.average([r for _, r in sure], weights=[d for d, _ in sure])) if sure else None
        yield {"objectives": objectives, "way": way, "questions": questions, "people": len(own), **means,
               "right": right}  # fmt: skip


def _of_rules(rows: list[Row]) -> Iterator[Row]:
    groups: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["answers"], row["way"]].append(row)
    for (answers, way), own in sorted(groups.items()):
        found, near = (sum(row["places"] <= most for row in own) for most in (1, 3))
        yield {"answers": answers, "way": way, "people": len(own), "found": found / len(own),
               "interval": wilson(found, len(own)), "among_three": near / len(own),
               "mean": float(np.mean([row["mean"] for row in own]))}  # fmt: skip


def _of_dials(parts: Row, settings: Settings) -> Iterator[Row]:
    """Mean regret of each way to set the dial, by story."""
    for story in settings.stories:
        names = [f"{story}-{seed}-dials" for seed in range(1, settings.seeds + 1)]
        rows = [row for name in names if name in parts for row in parts[name]]
        found: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            found[row["way"]].append(row["regret"])
        if found:
            yield {"story": story, "seeds": sum(name in parts for name in names),
                   **{way: estimate(own).to_json() for way, own in found.items()}}  # fmt: skip


def _of_stories(parts: Row, settings: Settings) -> Iterator[Row]:
    """Mean regret of each way, and paired differences from random questions, by story."""
    for story in settings.stories:
        names = [f"{story}-{seed}" for seed in range(1, settings.seeds + 1) if f"{story}-{seed}" in parts]
        cells: dict[tuple[str, int], dict[tuple[Any, ...], float]] = defaultdict(dict)
        for name in names:
            for row in parts[name]:
                cells[row["way"], row["questions"]][name, row["user"], row.get("repeat")] = row["regret"]
        for (way, questions), own in cells.items():
            found: Row = {"story": story, "seeds": len(names), "way": way, "questions": questions,
                          "regret": estimate(list(own.values())).to_json()}  # fmt: skip
            base = cells.get(("random questions", questions), {})
            shared = [key for key in own if key in base]
            if way != "random questions" and len(shared) > 1:
                found["less_than_random"] = estimate([base[key] - own[key] for key in shared]).to_json()
            yield found


if __name__ == "__main__":
    run(tyro.cli(Settings))
