"""``pluralign evaluate separation``: do rewards read where an answer comes from, or its style?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.data.answers import Answers, AnswerSet, edited, load_answers
from pluralign.evaluate.pictures.alignment import HeatPanel, draw_separation
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.rewards.separation import Separation, separations, style_separation
from pluralign.evaluate.rewards.style_edits import STYLE_EDITS
from pluralign.lm.backbone import fast_dtype


def evaluate_separation(
    rewards: tuple[str, ...],
    sources: tuple[str, ...],
    out: Path,
    styles: bool = False,
    fast: bool = False,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Tell how well rewards separate sources of answers to the same prompts, and texts from restyled ones.

    A figure is the probability (AUC) that the second of two answers has the greater reward; 0.5 says that
    the reward does not tell them apart. An interrupted run continues.

    Example: pluralign evaluate separation --rewards irl=runs/irl bt=runs/bt
    --sources init=init.jsonl sft=sft.jsonl demo=demo.jsonl --styles True --out runs/separation

    Args:
        rewards: NAME=REWARD of each reward.
        sources: NAME=FILE of each source of answers.
        out: the folder for report.json, separation.svg and rewards.jsonl.
        styles: hold the answers against themselves in another style (lower case, curly quotes, ...), too.
        fast: compute in bfloat16 where the machine is fast at it.
        seed: of the bootstrap.
        json: a file for the figures.
    """
    named = named_entries(rewards, "rewards", "NAME=REWARD")
    read = {name: load_answers(file) for name, file in named_entries(sources, "sources", "NAME=FILE").items()}
    if len(read) < 2 and not styles:
        raise InputError(f"expected two or more, or --styles True, found {len(read)}", field="sources")
    restyled = _restyled(read) if styles else {}
    scored = {name: list(source.answers.values()) for name, source in read.items()}
    for edit, changed in restyled.items():
        scored |= {
            f"{name}: {edit}": [one for one, _ in own.values() if one] for name, own in changed.items()
        }
    found = score_sources(
        named, scored, out / "rewards.jsonl",
        wanted=[(name, source) for name in named for source in scored],
        dtype=fast_dtype() if fast else None,
    )  # fmt: skip
    table: dict[str, list[Separation]] = {}
    for name in named:
        by_prompt = {
            source: dict(zip(read[source].answers, found[name, source], strict=True)) for source in read
        }
        table[name] = separations(by_prompt, seed=seed) if len(read) > 1 else []
        for edit, changed in restyled.items():
            after = {source: found[name, f"{source}: {edit}"] for source in changed}
            table[name] += _of_style(edit, by_prompt, changed, after, seed)
    _tell_separation(table, out, len(read) * (len(read) - 1) // 2)
    figures = {"rewards": named, "sources": {n: s.path for n, s in read.items()}, "seed": seed} | {
        "separation": {n: [{**asdict(s), "auc": s.auc.to_json()} for s in own] for n, own in table.items()}
    }
    write_json(out / "report.json", figures)
    wrote(out / "report.json", "separation.svg beside it")
    give_figures(figures, json)


_Restyled = dict[str, tuple[Answers | None, list[int | None]]]
"""By prompt: the answers that an edit changed, and the place of each answer among them."""


def _restyled(read: Mapping[str, AnswerSet]) -> dict[str, dict[str, _Restyled]]:
    """By edit and source; edits that change answers to fewer than two prompts are left out, and told."""
    found: dict[str, dict[str, _Restyled]] = {}
    for name, edit in STYLE_EDITS.items():
        changed = {
            source: {key: edited(one, edit) for key, one in own.answers.items()}
            for source, own in read.items()
        }
        prompts = {key for own in changed.values() for key, (one, _) in own.items() if one}
        if len(prompts) > 1:
            found[name] = changed
        else:
            say(f"'{name}' changes answers to {len(prompts)} prompts, and is left out")
    return found


def _of_style(
    edit: str, by_prompt: Mapping[str, Mapping[str, Sequence[float]]], changed: Mapping[str, _Restyled],
    after: Mapping[str, Sequence[Sequence[float]]], seed: int,
) -> list[Separation]:  # fmt: skip
    before: dict[str, list[float]] = {}
    restyled: dict[str, list[float | None]] = {}
    for source, own in changed.items():
        rewards = iter(after[source])
        for key, (one, places) in own.items():
            mine = next(rewards) if one else ()
            before.setdefault(key, []).extend(by_prompt[source][key])
            restyled.setdefault(key, []).extend(None if place is None else mine[place] for place in places)
    return [style_separation(before, restyled, name=edit, seed=seed)]


def _tell_separation(table: Mapping[str, Sequence[Separation]], out: Path, pairs: int) -> None:
    """Print and draw; the first so many columns are pairs of sources, the others style edits."""
    some = next(iter(table.values()))
    kinds = {
        "sources": (slice(pairs), [f"{one.first} < {one.second}" for one in some[:pairs]]),
        "the same text in another style": (slice(pairs, None), [one.second for one in some[pairs:]]),
    }
    panels: list[HeatPanel] = []
    for title, (part, names) in kinds.items():
        if not names:
            continue
        say(f"{title}: probability that the second has the greater reward, with standard errors")
        columns = zip(*(own[part] for own in table.values()), strict=True)
        told = [[one.auc.with_error() for one in column] for column in columns]
        say_table(list(table), dict(zip(names, told, strict=True)))
        auc = np.array([[one.auc.mean for one in own[part]] for own in table.values()])
        panels.append(HeatPanel(title, names, auc))
    draw_separation(list(table), panels, out / "separation.svg")
