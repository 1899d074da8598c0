"""The tables of agents: alone, mixed, compared with references, and from planted errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ethical_theories_lib.criterion import ALL, REFERENCES, STRONG
from ethical_theories_lib.report import METRICS, by_story


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column to the left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def agent_tables(found: Mapping[str, Any]) -> list[str]:
    """Returns of every player, the sweeps, and decisions on which two agents differ."""
    parts = [
        "## Agents",
        "Exact expected returns; mean over seeds, and range. Each agent learned offline from the language "
        "model's episodes; those of a theory from its rater's labels alone, the agents score and harm "
        "avoidance from the story's own. Coin flips: the same from labels that are drawn at random, as a "
        "control: away from score, violations fall without any theory, too. For each seed, the agents of a "
        "theory learn from another training of its rater.",
    ]
    for story, runs in by_story(found).items():
        rows = [
            [name.replace("_", " "), *[_over([run["alone"][name][m] for run in runs]) for m in METRICS]]
            for name in runs[0]["alone"]
        ]
        parts += [f"### {story.replace('_', ' ')}, {len(runs)} seeds", table(["player", *METRICS], rows)]
        parts.append(_lines(runs))
        if "differing" in runs[0]:
            parts += _differing(runs[0]["differing"])
    return parts


def _differing(found: Mapping[str, Any]) -> list[str]:
    one, other = found["theories"]
    rows = [
        [
            f"{option} *({row['page'].partition(' ')[2]})*" if i == 0 else option,
            f"{row[one][i]:.2f}",
            f"{row[other][i]:.2f}",
        ]
        for row in found["decisions"]
        for i, option in enumerate(row["options"])
    ]
    return [
        f"The {len(found['decisions'])} decisions on which the agents of {one} and {other} differ most "
        "(seed 1), with the end of the page, and their probabilities:",
        table(["option", one, other], rows),
    ]


def _lines(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name in runs[0]["lines"]:
        spearmans = [run["lines"][name]["spearman"] for run in runs]
        lines = [run["lines"][name] for run in runs]
        ends = [_over([line["violations"][line["weight"].index(end)] for line in lines]) for end in (0, 1)]
        rows.append([name.replace("_", " "), ", ".join(f"{s:.2f}" for s in spearmans), *ends])
    for run in runs[:1]:
        if "simplex" in run:
            value = [r["simplex"]["spearman of the weight on score"] for r in runs]
            rows.append(["weight on score, four agents", ", ".join(f"{v:.2f}" for v in value), "", ""])
    head = [
        "mixture with score",
        "Spearman of weight and violations, by seed",
        "violations at weight 0",
        "at 1",
    ]
    return table(head, rows)


def _over(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def noise_tables(found: Mapping[str, Any]) -> list[str]:
    """Agents from planted errors, and the raters' place on their curve."""
    parts = [
        "## How good a judge must be",
        "Violations of agents for harm avoidance, as a share of random play's: from labels with planted "
        "errors, and from the labels of the raters' first trainings. Accuracy: share of pairs of options "
        "with different labels that the labels order rightly. Mean over seeds, and range. In the picture "
        "and the last table, the curve is a polynomial of the second degree, fitted to all agents from "
        "planted errors of 50 to 90 %, and the interval is that in which 95 % of further such agents are "
        "expected; both also have the agents of the raters' other trainings.",
        "![Violations over the accuracy of the labels](ethical_theories-noise.svg)",
    ]
    for story, content in found.items():
        rows = content["rows"]
        sizes = sorted({row["episodes"] for row in rows})
        names = list(dict.fromkeys(row["rater"] for row in rows))
        cells = []
        for name in names:
            own = [row for row in rows if row["rater"] == name]
            line = [name.replace("_", " "), f"{100 * np.mean([row['accuracy'] for row in own]):.1f}"]
            for size in sizes:
                shares = [row["violations"] / row["random"] for row in own if row["episodes"] == size]
                line.append(_over(shares) if shares else "–")
            cells.append(line)
        parts += [
            f"### {story.replace('_', ' ')}",
            table(["labels", "accuracy, %", *[f"{size:,} episodes" for size in sizes]], cells),
        ]
    return parts
    rows = [
        [
            f"{story.replace('_', ' ')}, {rater}", f"{100 * row['accuracy']:.1f}", f"{row['share']:.2f}",
            f"{row['expected']:.2f}", f"{row['inside']} of {row['agents']}", str(row["above"]),
            str(row["below"]),
        ]
        for story, content in found.items()
        for rater, row in content["places"].items()
    ]  # fmt: skip
    head = [
        "story, rater",
        "accuracy, %",
        "violations",
        "on the curve",
        "agents in the interval",
        "above",
        "below",
    ]
    return [*parts, "### The raters on the curve", table(head, rows)]


def criterion_tables(found: Mapping[str, Any]) -> list[str]:
    """Differences to the references, next to Spearman's correlations."""
    parts = [
        "## Which agents have fewer violations than one without values",
        "Difference in violations of the agents alone (weight 1), as a share of random play's, paired by "
        "seed; 95 % t intervals over seeds, for all stories with the variances within them pooled (the "
        "stories are fixed). Last column: runs with a Spearman correlation of weight and violations of "
        f"{STRONG} or stronger.",
    ]
    for reference in REFERENCES:
        agents = found[reference]
        stories = [story for story in next(iter(agents.values())) if story != ALL]
        rows = []
        for name, row in agents.items():
            met = found["spearman"].get(name)
            cells = [_difference(row[place]) for place in (*stories, ALL)]
            rows.append([name.replace("_", " "), *cells, f"{met['met']} of {met['runs']}" if met else ""])
        head = [f"minus {reference}", *[s.replace("_", " ") for s in stories], ALL, f"Spearman {STRONG}"]
        parts.append(table(head, rows))
    return parts


def _difference(row: Mapping[str, Any]) -> str:
    if row["low"] is None or np.isnan(row["low"]):
        return f"{row['mean']:+.2f}"
    return f"{row['mean']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
