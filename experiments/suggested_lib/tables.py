"""Means and intervals over seeds and pairs, and the page of results."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from principles_lib.at_stake import area

from pluralign.evaluate.statistics import Estimate, estimate
from suggested_lib import moral
from suggested_lib.helpful_harmless import EQUAL, FIXED, HIDDEN
from suggested_lib.prompts import LABELS

Row = dict[str, Any]


def summary(parts: Mapping[str, Any]) -> Row:
    """All figures of the parts that are finished."""
    texts = [own for name, own in parts.items() if name.startswith("hh_rlhf")]
    rules = [own for name, own in parts.items() if name.startswith("moralchoice")]
    return {"hh_rlhf": _of_texts(texts), **({"moralchoice": _of_rules(rules)} if rules else {})}


def _of_texts(seeds: Sequence[Row]) -> Row:
    ways = [EQUAL, FIXED, *LABELS, HIDDEN]
    rows: dict[str, Row] = {}
    for way in ways:
        hits = _by_row(seeds, lambda one, way=way: one["hits"][way])
        gaps = _by_row(seeds, lambda one, way=way: np.subtract(one["hits"][way], one["hits"][FIXED]).tolist())
        rows[way] = {
            "accuracy": _estimate(hits), "minus_fixed": _estimate(gaps),
            "by_seed": [float(np.mean(one["hits"][way])) for one in seeds],
        }  # fmt: skip
        if way in LABELS:
            rows[way]["area"] = [_area(one["weight"][way], one) for one in seeds]
            rows[way]["weight"] = [_weights_by_set(one["weight"][way], one) for one in seeds]
    return {
        "seeds": [
            {key: one[key] for key in ("seed", "pairs", "reward_accuracy", "fixed_weights", "mean_reward")}
            for one in seeds
        ],
        "tested": len(_by_row(seeds, lambda one: one["hits"][FIXED])),
        "ways": rows,
        "area_of_labels": {
            name: [_area(one["label"][name], one) for one in seeds] for name in seeds[0]["label"]
        },
    }


def _by_row(seeds: Sequence[Row], values: Any) -> list[float]:
    """Mean over the seeds that tested a pair, for each pair."""
    found: dict[int, list[float]] = defaultdict(list)
    for one in seeds:
        for row, value in zip(one["rows"], values(one), strict=True):
            found[row].append(value)
    return [float(np.mean(own)) for own in found.values()]


def _area(weights: Sequence[float], one: Row) -> float:
    """Area under the ROC curve of the weight of harmlessness for the set of the pair."""
    return area(np.array(weights), np.array(one["harmless"], dtype=float))


def _weights_by_set(weights: Sequence[float], one: Row) -> list[float]:
    harmless = np.array(one["harmless"], dtype=bool)
    return [float(np.mean(np.array(weights)[harmless == kind])) for kind in (False, True)]


def _of_rules(seeds: Sequence[Row]) -> Row:
    found: Row = {"decisions": len(seeds[0]["cases"]), "folds": len(seeds)}
    for kind in seeds[0]["kinds"]:
        own = [one["kinds"][kind] for one in seeds]
        found[kind] = {
            way: {
                "accuracy": _estimate(np.mean([one[way]["hits"] for one in own], axis=0)),
                "accuracy_minus_fixed": _estimate(
                    np.mean([np.subtract(one[way]["hits"], one[moral.FIXED]["hits"]) for one in own], axis=0)
                ),
                "named": _estimate(np.mean([one[way]["named"] for one in own], axis=0)),
                "named_minus_fixed": _estimate(
                    np.mean(
                        [np.subtract(one[way]["named"], one[moral.FIXED]["named"]) for one in own], axis=0
                    )
                ),
                "area": [float(np.mean(list(one[way]["area"].values()))) for one in own],
            }
            for way in own[0]
        }
    stakes = np.array(seeds[0]["at_stake"])
    some = stakes[stakes.sum(axis=1) > 0]
    found["chance"] = float((some.sum(axis=1) / some.shape[1]).mean())
    return found


def _estimate(values: Any) -> Row:
    return dict(estimate(np.asarray(values, dtype=float)).to_json())


def as_markdown(report: Row) -> str:
    """The page of results."""
    texts = report["hh_rlhf"]
    parts = [
        "# Weights suggested by prompt",
        "`OMP_NUM_THREADS=1 python experiments/suggested_weights.py --data DIR`",
        _wrapped(
            f"Linear models on frozen features of {report['model']}. Helpful and harmless pairs of HH-RLHF "
            "are mixed, labels hidden; reward models (Bradley-Terry, L2) come from other conversations. "
            f"{len(texts['seeds'])} divisions of the conversations; {texts['tested']} distinct test pairs. "
            "Fixed weights are those on a grid of 101 that predict most choices of the training and "
            "validation pairs. Accuracies of a pair are averaged over the divisions that test it; intervals "
            "of 95 % are over pairs. Area: does the suggested weight of harmlessness separate harmless from "
            "helpful prompts (area under the ROC curve; mean over divisions, smallest to largest)?"
        ),
        _text_table(texts),
        _wrapped(_text_words(texts)),
    ]
    if "moralchoice" in report:
        parts += _rule_parts(report["moralchoice"])
    return "\n\n".join(parts) + "\n"


def _text_table(texts: Row) -> str:
    lines = [
        "| weights | choices predicted, % | minus best fixed, points | area | harmless weight, helpful / "
        "harmless prompts |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, row in texts["ways"].items():
        separated, means = "", ""
        if "area" in row:
            separated, (helpful, harmless) = _range(row["area"]), np.mean(row["weight"], axis=0)
            means = f"{helpful:.2f} / {harmless:.2f}"
        gap = "" if way == FIXED else _points(row["minus_fixed"])
        lines.append(f"| {way} | {_percent(row['accuracy'])} | {gap} | {separated} | {means} |")
    return "\n".join(lines)


def _text_words(texts: Row) -> str:
    seeds = texts["seeds"]
    accuracy = {
        (model, objective): np.mean([one["reward_accuracy"][model][objective] for one in seeds])
        for model in ("helpful", "harmless")
        for objective in ("helpful", "harmless")
    }
    levels = {
        (model, objective): np.mean([one["mean_reward"][model][objective] for one in seeds])
        for model in ("helpful", "harmless")
        for objective in ("helpful", "harmless")
    }
    return (
        "Accuracy of the reward models on test pairs (helpful / harmless): "
        + "; ".join(
            f"{model} {100 * accuracy[model, 'helpful']:.1f} / {100 * accuracy[model, 'harmless']:.1f} %"
            for model in ("helpful", "harmless")
        )
        + ". Mean reward of chosen answers in deviations (helpful / harmless pairs): "
        + "; ".join(
            f"{model} {levels[model, 'helpful']:+.2f} / {levels[model, 'harmless']:+.2f}"
            for model in ("helpful", "harmless")
        )
        + ". Area of the labels themselves, which read the chosen answer: "
        + "; ".join(f"{name} {_range(own)}" for name, own in texts["area_of_labels"].items())
        + ". Fixed weights of harmlessness by division: "
        + ", ".join(f"{one['fixed_weights'][1]:.2f}" for one in seeds)
        + "."
    )


def _rule_parts(rules: Row) -> list[str]:
    parts = [
        "## MoralChoice: which rule is at stake?",
        _wrapped(
            f"{rules['decisions']} decisions of low ambiguity; the choice is the act that MoralChoice calls "
            f"right. Five folds, {rules['folds']} divisions. A rule is at stake if only the wrong act "
            "violates it. Named: the largest weight is on a rule at stake, in decisions that have one "
            f"(a rule at random: {100 * rules['chance']:.0f} %). Area: mean over rules of the area under the "
            "ROC curve of a rule's weight for whether it is at stake (fixed weights differ between folds "
            "only). Intervals are over decisions."
        ),
    ]
    for kind in (moral.KNOWN, moral.LEARNED):
        lines = [
            f"| {kind} | choices predicted, % | minus fixed, points | named, % | minus fixed, points "
            "| area |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {way} | {_percent(row['accuracy'])} | {_points(row['accuracy_minus_fixed'])} | "
            f"{_percent(row['named'])} | {_points(row['named_minus_fixed'])} | {_range(row['area'])} |"
            for way, row in rules[kind].items()
        ]
        parts.append("\n".join(lines))
    return parts


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110)


def _percent(row: Row) -> str:
    return Estimate(*(100 * row[key] for key in ("mean", "stderr", "low", "high"))).with_interval(1)


def _points(row: Row) -> str:
    return f"{100 * row['mean']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"


def _range(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
