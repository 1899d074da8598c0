"""Tables of the experiment on weights from choices."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from weights_lib.stories import DECISIVENESS, USERS

Row = dict[str, Any]


def planted_lines(rows: Sequence[Row], pool: int) -> list[str]:
    """Simulated people."""
    if not rows:
        return []
    return [
        "",
        "## Simulated people",
        "",
        *_paragraph(f"""
            {rows[0]["people"]} people for each number of objectives: weights uniform on the simplex,
            decisiveness log-normal around 4 (deviation 0.5), lapses 2 %, {pool} questions with
            normal values. Error: sum of the absolute errors of the weights. Regret: of the
            best of four options under the mean weights, 50 decisions each. Decided: by
            dominance at 90 %. Intervals of 95 % over people."""),
        "",
        "| objectives | questions | way | error | regret | 90 % intervals hold | decided | of these right |",
        "|---:|---:|---|---:|---:|---:|---:|---:|",
        *map(_planted, sorted(rows, key=lambda row: (row["objectives"], row["questions"], row["way"]))),
    ]


def _planted(row: Row) -> str:
    right = "" if row["right"] is None else f"{row['right']:.3f}"
    return (
        f"| {row['objectives']} | {row['questions']} | {row['way']} | {_interval(row['error'])} | "
        f"{_interval(row['regret'], 4)} | {row['covered']['mean']:.3f} | "
        f"{row['decided']['mean']:.2f} | {right} |"
    )


def misspecified_lines(found: dict[str, Row] | None) -> list[str]:
    """People whom weighted sums do not describe."""
    if found is None:
        return []
    return [
        "",
        "## People whom weighted sums do not describe",
        "",
        *_paragraph("""
            Three objectives, 40 questions of three options. Right and log loss: each answer predicted from
            the others (chance: 1.099). Removed: share of the answers without which some
            weights explain the rest."""),
        "",
        "| person | right | log loss | 90 % intervals hold | removed | other utility named | worst one |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {kind} | {row['share']:.2f} | {row['log_loss']:.3f} | {row['covered']:.2f} | "
            f"{row['removed']:.2f} | {row['other_named']:.2f} | {row['worst_named']:.2f} |"
            for kind, row in found.items()
        ),
    ]


def people_lines(found: Row | None) -> list[str]:
    """Real people."""
    if found is None:
        return []
    predicted = {
        "own weights": "right_by_weights",
        "uniform weights": "right_by_uniform",
        "the crowd's mean rating": "right_by_crowd",
    }
    return [
        "",
        f"## {found['people']} real people",
        "",
        *_paragraph(f"""
            Ratings of answers to 104 questions (value_choices); {found["halvings"]} random halvings.
            Values of answers are from one half of the people, weights of the other half's are
            from two thirds of their questions. Mean and deviation over halvings."""),
        "",
        "| correlation of inferred with stated value | |",
        "|---|---:|",
        *(f"| {name} | {_spread(cell, 2)} |" for name, cell in found["correlations"].items()),
        "",
        "| held-out pairs of answers predicted right by | |",
        "|---|---:|",
        *(f"| {label} | {_spread(found[key], 3)} |" for label, key in predicted.items()),
    ]


def rule_lines(rows: Sequence[Row]) -> list[str]:
    """MoralChoice."""
    if not rows:
        return []
    return [
        "",
        "## Rules of MoralChoice",
        "",
        *_paragraph("""
            Simulated people who hold one of ten rules (weight 0.6, the others 0.044 each, decisiveness
            8, lapses 2 %), four for each rule, choose between the two actions of decisions that are
            labelled for all rules. Found: the rule has the largest mean weight (by chance 10 %)."""),
        "",
        "| answers | questions | people | found | among the first three | its mean weight |",
        "|---:|---|---:|---|---:|---:|",
        *(
            f"| {row['answers']} | {row['way']} | {row['people']} | {row['found']:.2f} "
            f"({row['interval'][0]:.2f} to {row['interval'][1]:.2f}) | {row['among_three']:.2f} | "
            f"{row['mean']:.2f} |"
            for row in rows
        ),
    ]


def story_lines(rows: Sequence[Row], repeats: int) -> list[str]:
    """Stories."""
    if not rows:
        return []
    users = ", ".join(f"{share:g}" for share in USERS)
    return [
        "",
        "## Stories",
        "",
        *_paragraph(f"""
            Users with weights {users} on the first objective answer as the mixture of the agents would
            with decisiveness {DECISIVENESS:g}, {repeats} times each. Regret of the served
            mixture: utility of the exact front's best point minus that of the mixture, returns
            in shares of the front's range. Returns are exact. Intervals of 95 % over users,
            repeats and training seeds; differences are paired."""),
        "",
        "| story | seeds | questions | way | regret | less than random questions by |",
        "|---|---:|---:|---|---:|---:|",
        *(
            f"| {row['story']} | {row['seeds']} | {row['questions']} | {row['way']} | "
            f"{_interval(row['regret'])} | {_interval(row.get('less_than_random'))} |"
            for row in sorted(rows, key=lambda row: (row["story"], row["questions"], row["way"]))
        ),
    ]


def dial_lines(rows: Sequence[Row]) -> list[str]:
    """Dials."""
    if not rows:
        return []
    ways = [way for way in rows[0] if way not in ("story", "seeds")]
    return [
        "",
        "## The calibrated dial",
        "",
        *_paragraph("""
            The same users state their weights of the returns, in shares of the front's range. Regret:
            utility of the best of 21 dials minus that of the mixture. Values: best attainable returns."""),
        "",
        f"| story | seeds | {' | '.join(ways)} |",
        f"|---|---:|{'---:|' * len(ways)}",
        *(
            f"| {row['story']} | {row['seeds']} | {' | '.join(_interval(row[way], 4) for way in ways)} |"
            for row in rows
        ),
    ]


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 110)


def _interval(cell: Row | None, digits: int = 3) -> str:
    if cell is None:
        return ""
    return f"{cell['mean']:.{digits}f} ({cell['low']:.{digits}f} to {cell['high']:.{digits}f})"


def _spread(cell: Row, digits: int) -> str:
    return f"{cell['mean']:.{digits}f} ± {cell['deviation']:.{digits}f}"
