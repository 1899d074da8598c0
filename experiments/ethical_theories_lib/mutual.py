"""Forms chosen for each game, and agreement of raters where a game has no labels of harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ethical_theories_lib.games import STORIES, LabelGame, scenes_of
from ethical_theories_lib.labels import POOLED, RESAMPLES, balanced, compared, label_file, truths_of
from pluralign.annotate.agreement import CONFIDENCE, cohens_kappa
from pluralign.core import Annotation
from pluralign.core.preference import PREFERENCES
from pluralign.core.records import read_annotations


def chosen_forms(
    agreed: Mapping[str, Mapping[str, Any]], games: Sequence[LabelGame]
) -> dict[str, dict[str, str]]:
    """For each rater and game, the form with the best balanced share on the other stories; on all four for a
    game without labels of harm."""
    return {
        rater: {
            game.name: max(
                forms, key=lambda form: sum(_right(forms[form][s]) for s in STORIES if s != game.name)
            )
            for game in games
        }
        for rater, forms in agreed.items()
    }


def _right(row: Mapping[str, Any]) -> float:
    return row["balanced"]["share"] if row["balanced"] else 0.5


def agree_with_each_other(
    out: Path, games: Sequence[LabelGame], raters: Sequence[str], forms: Mapping[str, Mapping[str, str]],
    seed: int,
) -> dict[str, dict[str, dict[str, Any]]]:  # fmt: skip
    """Kappa between every two raters over all options, in the forms chosen for each game: of the four stories
    together, and of each other game."""
    parts = {POOLED: [game for game in games if game.name in STORIES]}
    parts |= {game.name: [game] for game in games if game.name not in STORIES}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for part, own in parts.items():
        scenes = scenes_of(own)
        read = {
            rater: [
                annotation
                for game in own
                for annotation in read_annotations(
                    label_file(out, game.name, rater, seed, forms[rater][game.name])
                )
            ]
            for rater in raters
        }
        table = found.setdefault(part, {})
        for one, other in combinations(raters, 2):
            table.setdefault(one, {})[other] = kappa_over_scenes(read[one], read[other], scenes)
    return found


def kappa_over_scenes(
    one: Sequence[Annotation], other: Sequence[Annotation], scenes: Mapping[str, str]
) -> dict[str, float | int]:
    """Cohen's kappa of two raters' answers to the same comparisons; whole scenes are resampled for the
    interval."""
    answers = {annotation.comparison.id: annotation.preference for annotation in other}
    tables: dict[str, npt.NDArray[np.int64]] = {}
    for annotation in one:
        scene = scenes[annotation.comparison.first.steps[0].decision.key]
        table = tables.setdefault(scene, np.zeros((3, 3), dtype=np.int64))
        answer = answers[annotation.comparison.id]
        table[PREFERENCES.index(annotation.preference), PREFERENCES.index(answer)] += 1
    stacked = np.stack(list(tables.values()))
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(stacked), np.full(len(stacked), 1 / len(stacked)), size=RESAMPLES)
    resampled = cohens_kappa(np.tensordot(drawn, stacked, axes=1))[0]
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    kappa = cohens_kappa(stacked.sum(axis=0))[0]
    pairs = stacked.sum(axis=(1, 2))
    return {
        "kappa": float(kappa), "low": float(low), "high": float(high), "comparisons": int(pairs.sum()),
        "scenes": len(stacked), "largest scene": int(pairs.max()),
    }  # fmt: skip


def agree_with_variables(
    out: Path, games: Sequence[LabelGame], raters: Sequence[str], forms: Mapping[str, Mapping[str, str]],
    seed: int,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """How often each rater prefers the option that a game's own variables count more of (`labels.balanced`),
    in games that are not built in: by game, variable and rater."""
    found: dict[str, dict[str, Any]] = {}
    for game in games:
        if game.name in STORIES:
            continue
        known, comparisons = compared(game)
        scenes = scenes_of([game])
        labels = {
            r: read_annotations(label_file(out, game.name, r, seed, forms[r][game.name])) for r in raters
        }
        for objective in game.story.info.objectives:
            truths = truths_of(known, comparisons, objective)
            shares = {rater: balanced(own, truths, scenes) for rater, own in labels.items()}
            if any(shares.values()):
                found.setdefault(game.name, {})[objective.name] = shares
    return found
