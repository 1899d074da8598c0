"""The experiment's results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ethical_theories_lib.games import STORIES
from ethical_theories_lib.labels import POOLED

METRICS = ("score", "violations", "power", "disutility")


def as_markdown(report: Mapping[str, Any]) -> str:
    """All parts that are finished."""
    settings = report["settings"]["rater"]
    parts = [
        "# Ethical theories: raters, labels, agents",
        f"`{report['command']}`, then the same without `--train`.",
        f"Raters: Bradley-Terry on the {settings['layers']} uppermost of the {settings['depth']} lowest "
        f"layers of {settings['model']}, the last token's reward; the layers below are frozen and run once.",
        "## Raters on their own test pairs, %",
        "Share right, with Wilson's 95 % intervals. Length, style and words: linear models of the texts' "
        "lengths, of marks and function words, and of all words. Filtered: test pairs that the model of "
        "words gets wrong, as ETHICS's hard splits were made. Scenarios: the share of test scenarios of "
        "which every pair is right.",
        _table(
            ["rater", "training pairs", "test pairs", "right", "length", "style", "words", "filtered",
             "scenarios", "seconds"],
            [_rater_row(row) for row in report["raters"]],
        ),
    ]  # fmt: skip
    for name, section in (
        ("agreement", _agreement), ("mutual", _mutual), ("adaptation", _adaptation), ("agents", _agents),
        ("noise", _noise),
    ):  # fmt: skip
        if report.get(name):
            parts += section(report[name])
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(row: Mapping[str, Any] | None, name: str = "value") -> str:
    if row is None or row[name] != row[name]:
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
        _table(head, rows),
        "With the form chosen on the other three stories, balanced:",
        _table(["rater", *names], chosen),
        "Share of all these pairs, %, in which length helps (here and for kappa the intervals treat "
        "decisions as independent, which makes them too narrow):",
        _table(head, raw),
        "Cohen's kappa, over the same pairs:",
        _table(head, kappas),
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
    return _table(["harm", "pairs", *[rater.replace("_", " ") for rater in best]], rows)


def _mutual(found: Mapping[str, Any]) -> list[str]:
    names = list(dict.fromkeys([*found, *[n for row in found.values() for n in row]]))
    rows = [
        [one.replace("_", " "), *[_pair(found, one, other) for other in names]] for one in names
    ]  # fmt: skip
    return [
        "## Who sides with whom",
        "Cohen's kappa between two raters over all pairs of options of the four stories.",
        _table(["", *[name.replace("_", " ") for name in names]], rows),
    ]


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
        _table(["adapted", *[s.replace("_", " ") for s in STORIES]], rows),
    ]


def _agents(found: Mapping[str, Any]) -> list[str]:
    by_story: dict[str, list[Mapping[str, Any]]] = {}
    for name, figures in found.items():
        by_story.setdefault(name.rpartition("-")[0], []).append(figures)
    parts = [
        "## Agents",
        "Exact expected returns; mean over seeds, and range. Each agent learned offline from the language "
        "model's episodes; those of a theory from its rater's labels alone, the agents score and harm "
        "avoidance from the story's own. Coin flips: the same from labels that are drawn at random, as a "
        "control: away from score, violations fall without any theory, too.",
    ]
    for story, runs in by_story.items():
        rows = [
            [name.replace("_", " "), *[_over([run["alone"][name][m] for run in runs]) for m in METRICS]]
            for name in runs[0]["alone"]
        ]
        parts += [f"### {story.replace('_', ' ')}, {len(runs)} seeds", _table(["player", *METRICS], rows)]
        parts.append(_lines(runs))
        if "differing" in runs[0]:
            parts += _differing(runs[0]["differing"])
    return parts


def _differing(found: Mapping[str, Any]) -> list[str]:
    one, other = found["theories"]
    rows = [
        [
            f"{option} *({row['page'][-160:].partition(' ')[2]})*" if i == 0 else option,
            f"{row[one][i]:.2f}",
            f"{row[other][i]:.2f}",
        ]
        for row in found["decisions"]
        for i, option in enumerate(row["options"])
    ]
    return [
        f"The {len(found['decisions'])} decisions on which the agents of {one} and {other} differ most "
        "(seed 1), with the end of the page, and their probabilities:",
        _table(["option", one, other], rows),
    ]


def _lines(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name in runs[0]["lines"]:
        spearmans = [run["lines"][name]["spearman"] for run in runs]
        ends = [
            _over([run["lines"][name]["points"][place]["violations"] for run in runs]) for place in (0, -1)
        ]
        weights = runs[0]["lines"][name]["points"][0]["weights"][name]
        ends = ends if weights == 0 else ends[::-1]
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
    return _table(head, rows)


def _over(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _noise(found: Mapping[str, Any]) -> list[str]:
    parts = [
        "## How good a judge must be",
        "Violations of agents for harm avoidance, as a share of random play's: from labels with planted "
        "errors, and from the raters' labels. Accuracy: share of pairs of options with different labels that "
        "the labels order rightly. Mean over seeds, and range.",
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
            _table(["labels", "accuracy, %", *[f"{size:,} episodes" for size in sizes]], cells),
        ]
    return parts
