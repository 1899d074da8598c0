"""A preference head that reads a principle, tested on the rule that it was not trained on."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from console import say
from moralchoice_lib.data import OBJECTIVES, RULES, Case

from pluralign.core import Decision, PreferencePair, Segment, Step
from pluralign.data.principles import principled_decision, principled_pairs
from pluralign.learn.options.cpl import CPLConfig, fit_cpl
from pluralign.options.features import FeatureStore
from pluralign.options.option_policy import OptionPolicy
from principles_lib.settings import Settings, folds_of

WITH, WITHOUT, SEEN = "principle", "no principle", "rule seen"
"""The head that reads the principle, one that does not, and one that was trained on the rule, too."""


def rule_pairs(cases: Sequence[Case]) -> dict[str, list[tuple[int, PreferencePair]]]:
    """By rule, the decisions in which exactly one act violates it: number of the decision, and the pair."""
    found: dict[str, list[tuple[int, PreferencePair]]] = {rule: [] for rule in RULES}
    for number, case in enumerate(cases):
        for rule in RULES:
            safe = case.safe(rule)
            if safe is not None:
                chosen, rejected = (
                    Segment(f"{case.id}-{option}", 0, (Step(case.decision, option),))
                    for option in (safe, 1 - safe)
                )
                found[rule].append((number, PreferencePair(chosen, rejected, rule)))
    return found


def against_others(case: Case, rule: str) -> bool:
    """Whether another rule has its safe act on the other side."""
    return any(case.safe(other) == 1 - safe for other in RULES if (safe := case.safe(rule)) is not None)


def all_decisions(cases: Sequence[Case]) -> list[Decision]:
    """The decisions of which features are needed."""
    plain = [case.decision for case in cases]
    worded = [
        principled_decision(case.decision, OBJECTIVES[rule].description)
        for rule in RULES
        for case in cases
        if case.safe(rule) is not None
    ]
    return plain + worded


def measure(cases: Sequence[Case], store: FeatureStore, settings: Settings) -> dict[str, Any]:
    """Accuracy by rule, and where another rule is against it, of each kind of head."""
    pairs = rule_pairs(cases)
    right: dict[str, dict[str, list[tuple[int, float]]]] = {
        kind: {rule: [] for rule in RULES} for kind in (WITH, WITHOUT, SEEN)
    }
    by_seed: dict[str, list[float]] = {kind: [] for kind in right}
    for seed in range(settings.seeds):
        folds = folds_of(cases, settings, seed)
        own: dict[str, list[float]] = {kind: [] for kind in right}
        for fold in range(settings.folds):
            train = {rule: [p for n, p in own_pairs if folds[n] != fold] for rule, own_pairs in pairs.items()}
            test = {
                rule: [(n, p) for n, p in own_pairs if folds[n] == fold] for rule, own_pairs in pairs.items()
            }
            seen = _fit(_joined(train, None), True, store, settings, seed)
            for rule in filter(test.__getitem__, RULES):
                nine = _joined(train, rule)
                heads = {
                    WITH: _fit(nine, True, store, settings, seed),
                    WITHOUT: _fit(nine, False, store, settings, seed),
                    SEEN: seen,
                }
                for kind, head in heads.items():
                    hits = _hits(head, test[rule], worded=kind != WITHOUT)
                    right[kind][rule] += hits
                    own[kind] += [hit for _, hit in hits]
        for kind, hits in own.items():
            by_seed[kind].append(float(np.mean(hits)))
        say(f"  seed {seed}: " + ", ".join(f"{kind} {by_seed[kind][-1]:.3f}" for kind in by_seed))
    contested = {
        rule: {n for n, _ in own_pairs if against_others(cases[n], rule)} for rule, own_pairs in pairs.items()
    }
    return {
        "pairs": {rule: len(own_pairs) for rule, own_pairs in pairs.items()},
        "contested": {rule: len(numbers) for rule, numbers in contested.items()},
        "accuracy": {kind: _means(rows) for kind, rows in right.items()},
        "accuracy where contested": {
            kind: _means(
                {rule: [(n, hit) for n, hit in hits if n in contested[rule]] for rule, hits in rows.items()}
            )
            for kind, rows in right.items()
        },
        "accuracy by seed": by_seed,
        "difference": _difference(right[WITH], right[WITHOUT], None),
        "difference where contested": _difference(right[WITH], right[WITHOUT], contested),
    }


def _joined(train: Mapping[str, Sequence[PreferencePair]], left_out: str | None) -> list[PreferencePair]:
    return [pair for rule, own in train.items() if rule != left_out for pair in own]


def _fit(
    pairs: Sequence[PreferencePair], worded: bool, store: FeatureStore, settings: Settings, seed: int
) -> OptionPolicy:
    config = CPLConfig(conservative_bias=1.0, bc_share=0.0, steps=settings.steps, hidden=64)
    out = settings.out / "head"
    shutil.rmtree(out, ignore_errors=True)
    plain = [replace(pair, objective="good") for pair in pairs]
    given = principled_pairs(pairs, list(OBJECTIVES.values())) if worded else plain
    return fit_cpl(given, store=store, out=out, config=config, seed=seed)


def _hits(
    head: OptionPolicy, test: Sequence[tuple[int, PreferencePair]], *, worded: bool
) -> list[tuple[int, float]]:
    pairs = [pair for _, pair in test]
    if worded:
        pairs = principled_pairs(pairs, list(OBJECTIVES.values()))
    steps = [pair.chosen.steps[0] for pair in pairs]
    rows = head.log_probs([step.decision for step in steps])
    hits = [float(row[step.action] > row[1 - step.action]) for row, step in zip(rows, steps, strict=True)]
    return [(number, hit) for (number, _), hit in zip(test, hits, strict=True)]


def _means(rows: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, float | None]:
    means: dict[str, float | None] = {
        rule: float(np.mean([hit for _, hit in hits])) if hits else None for rule, hits in rows.items()
    }
    every = [hit for hits in rows.values() for _, hit in hits]
    return {**means, "all": float(np.mean(every)) if every else None}


def _difference(
    one: Mapping[str, Sequence[tuple[int, float]]],
    other: Mapping[str, Sequence[tuple[int, float]]],
    kept: Mapping[str, set[int]] | None,
) -> dict[str, float] | None:
    """Paired difference of accuracies over all rules' pairs; 95 % by a bootstrap over decisions."""
    apart: dict[int, list[float]] = {}
    for rule in one:
        for (number, a), (_, b) in zip(one[rule], other[rule], strict=True):
            if kept is None or number in kept[rule]:
                apart.setdefault(number, []).append(a - b)
    if not apart:
        return None
    sums, counts = (np.array([f(row) for row in apart.values()]) for f in (sum, len))
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(sums), size=(2000, len(sums)))
    low, high = np.quantile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [0.025, 0.975])
    return {
        "mean": float(sums.sum() / counts.sum()),
        "low": float(low),
        "high": float(high),
        "decisions": len(sums),
    }
