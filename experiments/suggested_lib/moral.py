"""MoralChoice: do weights that are learned from choices name the rule at stake?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from frozen_lib.data import Features
from frozen_lib.heads import fit_reward
from moralchoice_lib.data import RULES, Case
from principles_lib.at_stake import area

from pluralign.core.arrays import FloatArray
from pluralign.core.splits import seed_for
from suggested_lib.prompts import LABELS, states_of, suggestions

KNOWN, LEARNED = "labels of rules as rewards", "rewards learned on the ambiguous decisions"
FIXED = "best fixed weights"
_FOLDS = 5


def measure(cases: Sequence[Case], features: Features, folder: Path, seed: int) -> dict[str, Any]:
    """Figures of one division into folds, by kind of reward and label.

    The choices are the acts that MoralChoice calls right in its decisions of low ambiguity.
    """
    low = [case for case in cases if case.ambiguity == "low"]
    states = states_of([case.decision.prompt for case in low], features.backbone, folder)
    read = np.stack([states[case.decision.prompt] for case in low])
    stakes = np.array([_at_stake(case) for case in low])
    folds = np.array([seed_for(f"fold of {case.id}", seed) % _FOLDS for case in low])
    kinds = {KNOWN: _known(low), LEARNED: _learned(cases, low, features, seed)}
    return {
        "seed": seed, "cases": [case.id for case in low], "at_stake": stakes.tolist(),
        "kinds": {kind: _of_kind(read, rewards, stakes, folds, seed) for kind, rewards in kinds.items()},
    }  # fmt: skip


def _of_kind(
    read: FloatArray, rewards: FloatArray, stakes: FloatArray, folds: FloatArray, seed: int
) -> dict[str, Any]:
    weights = {way: np.zeros(stakes.shape) for way in (*LABELS, FIXED)}
    order = np.random.default_rng(seed).permutation(len(read))
    for fold in range(_FOLDS):
        rest, test = order[folds[order] != fold], np.flatnonzero(folds == fold)
        parts = {"train": rest[len(rest) // 5 :], "validation": rest[: len(rest) // 5], "test": test}
        for label, config in LABELS.items():
            own, fixed = suggestions(
                {part: read[rows] for part, rows in parts.items()},
                {part: rewards[rows] for part, rows in parts.items() if part != "test"},
                config,
            )
            weights[label][test], weights[FIXED][test] = own, fixed
    gaps = rewards[:, 0] - rewards[:, 1]
    some = stakes.sum(axis=1) > 0
    return {
        way: {
            "hits": ((np.sign((gaps * own).sum(axis=1)) + 1) / 2).tolist(),
            # Whether the largest weight is on a rule at stake, where there is one.
            "named": [
                float(row[place]) for row, place in zip(stakes[some], own[some].argmax(axis=1), strict=True)
            ],
            "area": {
                rule: area(own[:, column], stakes[:, column])
                for column, rule in enumerate(RULES)
                if 0 < stakes[:, column].sum() < len(stakes)
            },
        }
        for way, own in weights.items()
    }


def _at_stake(case: Case) -> list[float]:
    """1 for each rule that the wrong act violates and the right one does not."""
    return [1.0 if case.safe(rule) == case.first else 0.0 for rule in RULES]


def _known(cases: Sequence[Case]) -> FloatArray:
    """Minus the violations of the right and the wrong act, shape (cases, 2, rules); 0 without agreement."""
    rows = [
        [[-float(case.flags[rule][place] or 0.0) for rule in RULES] for place in (case.first, 1 - case.first)]
        for case in cases
    ]
    return np.array(rows)


def _learned(cases: Sequence[Case], low: Sequence[Case], features: Features, seed: int) -> FloatArray:
    """Rewards of both acts by a linear reward for each rule, from decisions of high ambiguity."""
    high = [case for case in cases if case.ambiguity == "high"]
    acts = features.of_decisions([case.decision for case in low])
    right = np.stack([own[[case.first, 1 - case.first]] for own, case in zip(acts, low, strict=True)])
    columns: list[FloatArray] = []
    for rule in RULES:
        own = [(case, safe) for case in high if (safe := case.safe(rule)) is not None]
        read = features.of_decisions([case.decision for case, _ in own])
        pairs = np.stack([one[[safe, 1 - safe]] for one, (_, safe) in zip(read, own, strict=True)])
        held = np.array([seed_for(f"penalty {case.id}", seed) % 5 == 0 for case, _ in own])
        held[:2] = [True, False]
        columns.append(fit_reward(pairs[~held], pairs[held])(right))
    return np.stack(columns, axis=2)
