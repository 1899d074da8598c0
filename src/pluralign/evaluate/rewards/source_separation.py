"""Separation of sources of answers, and of texts from restyled texts, by several rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pluralign.core import InputError
from pluralign.core.checks import require_at_least
from pluralign.core.files import write_json
from pluralign.data.answers import Answers, AnswerSet, edited
from pluralign.evaluate.pictures.alignment import HeatPanel, draw_separation
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.rewards.separation import Separation, separations, style_separation
from pluralign.evaluate.rewards.style_edits import STYLE_EDITS
from pluralign.lm.dtypes import DTypeName
from pluralign.rewards.identity import Scorer

PAIRS, STYLES = "sources", "the same text in another style"

_Restyled = dict[str, tuple[Answers | None, list[int | None]]]
"""Answers that an edit changed and the index of each answer among them, by prompt."""


@dataclass(frozen=True)
class SourceSeparation:
    """Separation of sources and of styles by rewards.

    Args:
        table: Separations by name of the reward: first the pairs of sources, then the style edits.
        pairs: Number of pairs of sources in each row of the table.
        unused_edits: Number of prompts with a changed answer, for edits with too few of them to measure.
    """

    table: Mapping[str, Sequence[Separation]]
    pairs: int
    unused_edits: Mapping[str, int]

    @property
    def columns(self) -> dict[str, dict[str, list[Separation]]]:
        """Separations by each reward, by kind (pairs of sources, style edits) and column."""
        some = next(iter(self.table.values()))
        names = [f"{one.first} < {one.second}" for one in some[: self.pairs]]
        names += [one.second for one in some[self.pairs :]]
        own = {name: [row[i] for row in self.table.values()] for i, name in enumerate(names)}
        kinds = {PAIRS: names[: self.pairs], STYLES: names[self.pairs :]}
        return {kind: {name: own[name] for name in listed} for kind, listed in kinds.items() if listed}

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """The table as plain data; infinite ends of intervals become null."""
        return {
            name: [{**asdict(one), "auc": one.auc.to_json()} for one in row]
            for name, row in self.table.items()
        }

    def save(self, folder: Path, figures: Mapping[str, Any]) -> Path:
        """Write report.json, with more figures before the table, and separation.svg.

        Returns:
            Path of report.json.

        Raises:
            InputError: The folder cannot be written.
        """
        panels = [
            HeatPanel(
                kind, list(own), np.array([[one.auc.mean for one in column] for column in own.values()]).T
            )
            for kind, own in self.columns.items()
        ]
        draw_separation(list(self.table), panels, folder / "separation.svg")
        write_json(folder / "report.json", {**figures, "separation": self.to_json()})
        return folder / "report.json"


def separate_sources(
    rewards: Mapping[str, Scorer], sources: Mapping[str, AnswerSet], folder: str | Path, *,
    styles: bool = False, dtype: DTypeName = "float32", seed: int = 0,
) -> SourceSeparation:  # fmt: skip
    """Measure how well rewards separate sources of answers to the same prompts, and texts from restyled
    texts.

    Args:
        rewards: Rewards by name: loaded ones, or arguments of `load_reward`.
        sources: Answers of each source (`load_answers`).
        folder: Folder for rewards.jsonl, from which an interrupted run continues.
        styles: Whether to compare the answers with restyled versions (lower case, curly quotes, ...) as well.
        dtype: Floating-point type of rewards that are loaded here.
        seed: Random seed of the bootstrap.

    Raises:
        InputError: There are fewer than two sources and no styles, or a reward cannot be loaded.

    Examples:
        >>> import pluralign as pl
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> said = {"wordy": " no, no", "brief": " no"}
        >>> sources = {
        ...     name: pl.evaluate.load_answers([{"prompt": f"{i}:", "completion": text} for i in range(4)])
        ...     for name, text in said.items()
        ... }
        >>> found = pl.evaluate.separate_sources({"brief": brief}, sources, "separation")
        >>> found.table["brief"][0].auc.mean
        1.0
    """
    require_at_least(0, seed=seed)
    if len(sources) < 2 and not styles:
        raise InputError(f"expected two or more, or styles, found {len(sources)}", field="sources")
    restyled, unused = _restyled(sources) if styles else ({}, {})
    scored = {name: list(source.answers.values()) for name, source in sources.items()}
    for edit, changed in restyled.items():
        for name, own in changed.items():
            scored[f"{name}: {edit}"] = [one for one, _ in own.values() if one]
    wanted = [(name, source) for name in rewards for source in scored]
    found = score_sources(rewards, scored, Path(folder) / "rewards.jsonl", wanted=wanted, dtype=dtype)
    table: dict[str, list[Separation]] = {}
    for name in rewards:
        by_prompt = {
            source: dict(zip(own.answers, found[name, source], strict=True))
            for source, own in sources.items()
        }
        table[name] = separations(by_prompt, seed=seed) if len(sources) > 1 else []
        for edit, changed in restyled.items():
            after = {source: found[name, f"{source}: {edit}"] for source in changed}
            table[name].append(_of_style(edit, by_prompt, changed, after, seed))
    return SourceSeparation(table, len(sources) * (len(sources) - 1) // 2, unused)


def _restyled(
    sources: Mapping[str, AnswerSet],
) -> tuple[dict[str, dict[str, _Restyled]], dict[str, int]]:
    """Changed answers by edit and source; and the edits that change answers to fewer than two prompts."""
    found: dict[str, dict[str, _Restyled]] = {}
    unused: dict[str, int] = {}
    for name, edit in STYLE_EDITS.items():
        changed = {
            source: {key: edited(one, edit) for key, one in own.answers.items()}
            for source, own in sources.items()
        }
        prompts = {key for own in changed.values() for key, (one, _) in own.items() if one}
        if len(prompts) > 1:
            found[name] = changed
        else:
            unused[name] = len(prompts)
    return found, unused


def _of_style(
    edit: str, by_prompt: Mapping[str, Mapping[str, Sequence[float]]], changed: Mapping[str, _Restyled],
    after: Mapping[str, Sequence[Sequence[float]]], seed: int,
) -> Separation:  # fmt: skip
    before: dict[str, list[float]] = {}
    restyled: dict[str, list[float | None]] = {}
    for source, own in changed.items():
        rewards = iter(after[source])
        for key, (one, places) in own.items():
            mine = next(rewards) if one else ()
            before.setdefault(key, []).extend(by_prompt[source][key])
            restyled.setdefault(key, []).extend(None if place is None else mine[place] for place in places)
    return style_separation(before, restyled, name=edit, seed=seed)
