"""The experiment's results as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ethical_theories_lib.agent_tables import agent_tables, criterion_tables, noise_tables, table
from ethical_theories_lib.games import STORIES
from ethical_theories_lib.labels import POOLED

FEW = 10
"""Number of scenes from which on an interval over scenes is shown."""


def as_markdown(report: Mapping[str, Any]) -> str:
    """All parts that are finished."""
    settings = report["settings"]["rater"]
    parts = [
        "# Ethical theories: raters, labels, agents",
        f"`{report['command']}`, then the same without `--train`. Seeds of the theories' trainings: "
        f"{', '.join(str(seed) for seed in report['settings']['seeds'])}; raters' tables are of the first.",
        f"Raters: Bradley-Terry on the {settings['layers']} uppermost of the {settings['depth']} lowest "
        f"layers of {settings['model']}, the last token's reward; the layers below are frozen and run once.",
        "## Raters on their own test pairs, %",
        "Share right, with Wilson's 95 % intervals. Length, style and words: linear models of the texts' "
        "lengths, of marks and function words, and of all words. Filtered: test pairs that the model of "
        "words gets wrong, as ETHICS's hard splits were made. Scenarios: the share of test scenarios of "
        "which every pair is right.",
        table(
            ["rater", "training pairs", "test pairs", "right", "length", "style", "words", "filtered",
             "scenarios", "seconds"],
            [_rater_row(row) for row in report["raters"]],
        ),
    ]  # fmt: skip
    for name, section in (
        ("agreement", _agreement), ("mutual", _mutual), ("variables", _variables), ("trainings", _trainings),
        ("adaptation", _adaptation), ("agents", agent_tables), ("criterion", criterion_tables),
        ("noise", noise_tables),
    ):  # fmt: skip
        if report.get(name):
            parts += section(report[name])
    return "\n\n".join(parts) + "\n"


def _share(row: Mapping[str, Any] | None, name: str = "value") -> str:
    # Files have null for NaN.
    if row is None or row[name] is None or math.isnan(row[name]):
        return "–"
    return f"{100 * row[name]:.1f} ({100 * row['low']:.0f} to {100 * row['high']:.0f})"


def _rater_row(row: Mapping[str, Any]) -> list[str]:
    test = row["test"]
    return [
        row["name"].replace("_", " "), str(row["pairs"]["train"]), str(row["pairs"]["test"]),
        _share(test["rater"]), *[f"{100 * test[n]['value']:.1f}" for n in ("length", "style", "words")],
        f"{_share(row['filtered']['rater'])}, n {row['filtered']['rater']['n']}",
        f"{_share(row['scenarios']['rater'])}; words {100 * row['scenarios']['words']['value']:.1f}",
        f"{row['seconds']:.0f}",
    ]  # fmt: skip


def _agreement(found: Mapping[str, Any]) -> list[str]:
    rows, raw, kappas = [], [], []
    for rater, forms in found["stories"].items():
        for form, row in forms.items():
            named = [f"{rater.replace('_', ' ')}, {form}"]
            rows.append(named + [_share(row[s]["balanced"], "share") for s in (*STORIES, POOLED)])
            raw.append(named + [_share(row[s]["right"], "share") for s in (*STORIES, POOLED)])
            kappas.append(named + [_kappa(row[s]["kappa"]) for s in (*STORIES, POOLED)])
    chosen = [
        [
            rater.replace("_", " "),
            *[
                f"{_share(found['stories'][rater][forms[story]][story]['balanced'], 'share')}, {forms[story]}"
                for story in STORIES
            ],
        ]
        for rater, forms in found["forms"].items()
    ]
    names = [s.replace("_", " ") for s in STORIES]
    head = ["rater, form", *names, POOLED]
    return [
        "## Labels of the stories' options",
        "Pairs of options with different harms (the story's own labels of the step). Balanced: the mean of "
        "the shares in which the rater prefers the less harmful option where that is the shorter one, and "
        "where it is the longer one, %; chance is 50, and so is any preference for length. 95 % intervals "
        "over scenes (decisions that share an option).",
        table(head, rows),
        "With the form chosen on the other three stories, balanced:",
        table(["rater", *names], chosen),
        "Share of all these pairs, %, in which length helps (here and for kappa the intervals treat "
        "decisions as independent, which makes them too narrow):",
        table(head, raw),
        "Cohen's kappa, over the same pairs:",
        table(head, kappas),
        "By harm, the four stories together, balanced, in the form with the best balanced share:",
        _by_harm(found["stories"]),
    ]


def _kappa(row: Mapping[str, Any] | None) -> str:
    return "–" if row is None else f"{row['kappa']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _by_harm(stories: Mapping[str, Any]) -> str:
    best = {
        rater: max(forms.values(), key=lambda row: row[POOLED]["balanced"]["share"])["by harm"]
        for rater, forms in stories.items()
    }
    harms = list(next(iter(best.values())))
    rows = []
    for harm in harms:
        of_harm = {rater: row[harm]["balanced"] for rater, row in best.items()}
        counts = {n["better shorter"] + n["better longer"] for n in of_harm.values() if n}
        if counts:
            rows.append(
                [harm.removeprefix("no_").replace("_", " "), str(max(counts))]
                + [_share(found, "share") for found in of_harm.values()]
            )
    return table(["harm", "pairs", *[rater.replace("_", " ") for rater in best]], rows)


def _mutual(found: Mapping[str, Any]) -> list[str]:
    parts = [
        "## Who sides with whom",
        "Cohen's kappa between two raters over all pairs of options, with 95 % intervals over scenes. The "
        "Intercept and Starforge have no labels of harm: there the raters can only be compared with each "
        "other, in the forms that are best on the four stories, on the decisions that random play meets.",
    ]
    for part, of_part in found.items():
        names = list(dict.fromkeys([*of_part, *[n for row in of_part.values() for n in row]]))
        counts = next(iter(next(iter(of_part.values())).values()))
        rows = [[_plain(one), *[_pair(of_part, one, other) for other in names]] for one in names]
        parts += [
            f"{_plain(part).capitalize()}, {counts['comparisons']:,} pairs in {counts['scenes']} scenes "
            f"(the largest has {counts['largest scene']}):",
            table(["", *[_plain(name) for name in names]], rows),
        ]
    return parts


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _variables(found: Mapping[str, Any]) -> list[str]:
    parts = ["## Variables of games without labels of harm"]
    for game, variables in found.items():
        raters = list(next(iter(variables.values())))
        head = ["rater"]
        for name, of in variables.items():
            row = of[raters[0]]
            count, scenes = row["better shorter"] + row["better longer"], row["scenes"]
            head.append(f"{_plain(name)}, {count} pairs in {scenes} scene{'s' * (scenes > 1)}")
        rows = [[_plain(rater), *[_few(of[rater]) for of in variables.values()]] for rater in raters]
        parts += [
            f"{_plain(game).capitalize()}: how often a rater prefers the option that the game counts "
            f"as more of the variable, balanced by length, %; no interval for fewer than {FEW} scenes:",
            table(head, rows),
        ]
    return parts


def _few(row: Mapping[str, Any]) -> str:
    return _share(row, "share") if row["scenes"] >= FEW else f"{100 * row['share']:.1f}"


def _trainings(found: Mapping[str, Any]) -> list[str]:
    rows: list[list[str]] = []
    for theory, row in found.items():
        kappas = [pair["kappa"] for pair in row["kappa"].values()]
        mean = row["mean of trainings"]
        rows.append(
            [
                theory,
                _each(row["test"]),
                *[_each(row["balanced"][story]) for story in (*STORIES, POOLED)],
                f"{min(kappas):.2f} to {max(kappas):.2f}" if kappas else "–",
                _share(mean["all"], "share"),
                f"{100 * mean['ties']:.0f}",
                _share(mean["decided"], "share"),
            ]
        )
    return [
        "## Trainings of a rater",
        "The same data, other random seeds: own test pairs; balanced shares on the stories by seed, in the "
        "forms of the first; kappa between two trainings over all pairs of options; the mean of the "
        "standardised trainings as a rater, the share of labelled pairs that differ by no more than its "
        "uncertainty (ties), and the balanced share of the others.",
        table(
            ["rater", "test pairs", *[_plain(s) for s in STORIES], POOLED, "kappa", "mean, all pairs",
             "ties, %", "mean, without ties"],
            rows,
        ),
    ]  # fmt: skip


def _each(values: Sequence[float | None]) -> str:
    return ", ".join("–" if value is None else f"{100 * value:.1f}" for value in values)


def _pair(found: Mapping[str, Any], one: str, other: str) -> str:
    row = found.get(one, {}).get(other) or found.get(other, {}).get(one)
    return "" if row is None else f"{row['kappa']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def _adaptation(found: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"{rater.replace('_', ' ')}, {name}", *[_share(of[s], "share") for s in STORIES]]
        for rater, kinds in found.items()
        if rater != "labelled pairs"
        for name, of in kinds.items()
    ]
    return [
        "## Adaptation to games",
        "A linear model, learned on 300 labelled pairs of options of three stories, tested on the fourth, "
        "balanced: of a rater's rewards in all its forms, of all raters' together, of the option's length, "
        "of SmolLM2's frozen features, and of both.",
        table(["adapted", *[s.replace("_", " ") for s in STORIES]], rows),
    ]
