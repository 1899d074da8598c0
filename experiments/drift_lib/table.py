"""The drift of stances as Markdown, by the product's own `stance_drift`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pluralign.evaluate.values.drift import TopicDrift, stance_drift, total_drift
from pluralign.evaluate.values.stances import StanceQuestion

_GROUPS = ("planted", "not planted", "uncontroversial")


def group_drift(phases: Sequence[dict[str, Any]], group: str) -> tuple[TopicDrift, float]:
    """Drift of a group of topics over all seeds, and the mean of |magnitude| over topics and seeds.

    On planted topics the probability is that of the planted stance, elsewhere that of support. Questions of
    each seed are questions of their own, over which the interval resamples.
    """
    questions: list[StanceQuestion] = []
    columns: list[Any] = []
    totals: list[float] = []
    for phase in phases:
        support = np.array(phase["support"])
        rows = [place for place, one in enumerate(phase["questions"]) if one["group"] == group]
        own: list[StanceQuestion] = []
        for place in rows:
            one = phase["questions"][place]
            turned = one["planted"] is False
            columns.append(1.0 - support[:, place] if turned else support[:, place])
            questions.append(
                StanceQuestion(group, f"{phase['seed']}: {one['original']}", one["question"], "Yes", "No")
            )
            own.append(StanceQuestion(one["topic"], one["original"], one["question"], "Yes", "No"))
        totals.append(total_drift(stance_drift(own, support[:, rows], phase["steps"])))
    (found,) = stance_drift(questions, np.stack(columns, axis=1), phases[0]["steps"])
    return found, float(np.mean(totals))


def summary(phases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drift of each phase, seed and group of topics as JSON objects."""
    return [
        {"phase": phase["phase"], "seed": phase["seed"], "steps": phase["steps"],
         **group_drift([phase], group)[0].to_json()}
        for phase in phases for group in _GROUPS
    ]  # fmt: skip


def table(phases: Sequence[dict[str, Any]]) -> str:
    """The results as Markdown."""
    seeds = sorted({phase["seed"] for phase in phases})
    lines = [
        "# Drift of stances in training",
        "",
        f"`python experiments/drift.py --data DIR`; seeds: {', '.join(map(str, seeds))}",
        "",
        "Magnitude: change of the mean probability, of the planted stance on planted topics and of support",
        "on the others, with 95 % intervals over questions and seeds. Time: share of the steps after which",
        "it stays within 5 % of the magnitude from its end. |M|: mean over topics and seeds of the size of",
        "the magnitude. Noise: mean deviation between two phrasings of one question.",
        "",
        "| training | topics | first | last | magnitude | by seed | time | \\|M\\| by topic | noise |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    paths: list[str] = []
    for name in dict.fromkeys(phase["phase"] for phase in phases):
        own = [phase for phase in phases if phase["phase"] == name]
        for group in _GROUPS:
            found, total = group_drift(own, group)
            single = [group_drift([phase], group)[0].magnitude.mean for phase in own]
            time = "undefined" if found.time is None else f"{found.time:.2f}"
            lines.append(
                f"| {'SFT' if name == 'sft' else f'DPO, {name}'} | {group} | {found.support[0]:.3f} | "
                f"{found.support[-1]:.3f} | {found.magnitude.mean:+.3f} ({found.magnitude.low:+.3f} to "
                f"{found.magnitude.high:+.3f}) | {', '.join(f'{one:+.3f}' for one in single)} | {time} | "
                f"{total:.3f} | {found.phrasing_noise or 0:.3f} |"
            )
            if group == "planted":
                steps = ", ".join(
                    f"{step}: {value:.3f}" for step, value in zip(own[0]["steps"], found.support, strict=True)
                )
                paths.append(f"- {'SFT' if name == 'sft' else f'DPO, {name}'}: {steps}")
    lines += ["", "Probability of the planted stance on planted topics, by step:", "", *paths]
    return "\n".join(lines) + "\n"
