"""The page of results of value priors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from value_priors_lib.stories import WAYS

Row = dict[str, Any]


def as_markdown(report: Row) -> str:
    """The page of results."""
    parts = [
        "# Prior values of prompts, and budgets of samples",
        "`python experiments/value_priors.py --data DIR`",
        "## A prior fused with four returns",
        _said(
            f"Squared error relative to that of the mean of four returns, {report['states']} states of each "
            f"story, exact values of uniform play (score); the bias of the prior is in deviations of a "
            f"return. Means over {report['story_seeds']} seeds of states and returns, 95 % intervals."
        ),
    ]
    parts += _tables(report, "fusion", "bias", WAYS, 2)
    parts += [
        "## Buying returns while they pay",
        _said(
            "Squared error in units of a return's variance. Priors are right to 0.1 deviations, except for a "
            "share that is off by two. The budget buys 4 to 16 returns, each for 0.004 variances."
        ),
        *_tables(report, "mixture", "share", ("samples", "budget", "fused", "mean")),
        _said(
            "All priors off by the same bias: the error of the budget, next to that of the mean of as many "
            "returns."
        ),
        *_tables(report, "biased", "bias", ("samples", "budget", "mean of as many")),
    ]
    if "texts" in report:
        parts += _texts(report)
    return "\n\n".join(parts) + "\n"


def _tables(report: Row, table: str, key: str, ways: Sequence[str], digits: int = 3) -> list[str]:
    """One table of each story."""
    return [
        part
        for name, story in report["stories"].items()
        for part in (f"### {name}", _columns(story[table], key, ways, digits))
    ]


def _texts(report: Row) -> list[str]:
    parts = [
        "## Reservation values on samples of a language model",
        _said(
            f"{report['prompts']} questions of HH-RLHF, {report['samples']} samples of at most "
            f"{report['tokens']} tokens of {report['model']}, scored by programs. Reward minus prices, in "
            f"deviations within prompts, of {report['seeds']} halves of the prompts; 95 % intervals over "
            "prompts. Rewards of a prompt are taken to be normal, or distributed like the first samples of "
            "all prompts around their means (samples). Fixed: the number of samples that is best on the "
            "other half (mean over the halves)."
        ),
    ]
    for name, text in report["texts"].items():
        heading = (
            f"### {name} ({text['instrument']}; deviation within prompts {text['within']:.3f}, between their "
            f"means {text['between']:.3f}, skewness within {text['skewness']:.1f})"
        )
        parts += [heading, _budgets(text["budgets"])]
    parts += [
        "## Mean rewards of prompts, predicted from other prompts",
        _said(
            "Share of pairs of held-out prompts that are ranked like their mean rewards; the context is the "
            f"other half of the prompts. Value models: {report['value_seeds']} of the halves, heads on the "
            f"frozen trunk that learned from {report['value_samples']} samples of each prompt."
        ),
        _ranks(report["texts"]),
    ]
    return parts


def _budgets(rows: Sequence[Row]) -> str:
    lines = [
        "| price | first | rewards taken to be | mean from | samples | reward minus prices "
        "| minus fixed, same mean cost | fixed | minus best fixed | minus normal |",
        "|---:|---:|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['price']:g} | {row['least']} | {row['rule']} | {row['means']} | {row['samples']:.1f} "
        f"| {row['net']['mean']:.2f} | {_cell(row['over same cost'], 3)} | {row['fixed']:.1f} "
        f"| {_cell(row['over best fixed'], 3)} "
        f"| {'' if row['rule'] == 'normal' else _cell(row['over normal'], 3)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _ranks(texts: Mapping[str, Row]) -> str:
    names = list(texts)
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for key in ("accuracy", "gain"):
        rows = texts[names[0]]["ranks"][key]
        lines += [
            f"| {row} | " + " | ".join(_cell(texts[name]["ranks"][key][row], 3) for name in names) + " |"
            for row in rows
        ]
    return "\n".join(lines)


def _columns(rows: Sequence[Row], key: str, ways: Sequence[str], digits: int) -> str:
    lines = [f"| {key} | " + " | ".join(ways) + " |", "|---:|" + "---:|" * len(ways)]
    lines += [
        f"| {row[key]:g} | " + " | ".join(_cell(row[way], digits) for way in ways) + " |" for row in rows
    ]
    return "\n".join(lines)


def _cell(row: Row, digits: int) -> str:
    return f"{row['mean']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"


def _said(text: str) -> str:
    return textwrap.fill(text, 100)
