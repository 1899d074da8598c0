"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moralchoice_lib.data import RULES


def words(rule: str) -> str:
    """A rule's name as text."""
    return rule.replace("_", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _interval(found: Mapping[str, float], mean: str = "accuracy") -> str:
    return f"{_percent(found[mean])} ({_percent(found['low'])}–{_percent(found['high'])})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _accuracy_rows(table: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    columns = ("others", "uniform mixture", "language model", "language model, whole likelihood")
    columns = (*columns, "listed first", "action1")
    return [
        [words(rule), str(row["n"]), _interval(row["own"]), *[_percent(row[c]["accuracy"]) for c in columns]]
        if row["n"]
        else [words(rule), "0", *["–"] * (1 + len(columns))]
        for rule, row in table.items()
    ]


def as_markdown(report: Mapping[str, Any]) -> str:
    """The page of results as Markdown."""
    settings, line = report["settings"], report["line"]
    one, other = line["rules"]
    orders, duel = report["both orders"], report["conflict accuracy"]
    parts = [
        "# MoralChoice: one agent per rule, and steering between rules",
        f"`OMP_NUM_THREADS=1 {report['command']}`",
        f"{report['decisions']['low']} decisions of low and {report['decisions']['high']} of high ambiguity. "
        f"Features: {settings['model']} ({report['features_dtype']}), frozen. Agents: CPL, lambda 1, one per "
        f"rule, {settings['folds']}-fold cross-fitting by decision, seeds {settings['seed']} to "
        f"{settings['seed'] + settings['seeds'] - 1}, whose log-probabilities are averaged into one agent. "
        f"Versions: {', '.join(f'{name} {v}' for name, v in report['versions'].items())}.",
        "Chosen on validation pairs inside each fold's training part, one configuration for all rules: "
        + "; ".join(f"fold {f}: {name}" for f, name in report["chosen"].items())
        + ". Each fold's agents are then fitted on all but the fold.",
        "## Labels",
        "Decisions by how many of the two actions violate the rule; ties and disagreement say nothing.",
        _label_table(report["labels"]["overall"]),
    ]
    titles = {"overall": "All decisions", "low": "Low ambiguity", "high": "High ambiguity"}
    head = ["rule", "n", "own agent (95 %)", "mean of the other agents", "uniform mixture"]
    head += ["LM, per token", "LM, whole", "listed first", "file's action1"]
    parts += [
        "## Held-out accuracy, %",
        "Of the decisions where exactly one action violates the rule: how often the other one is "
        "likelier. Chance is 50. Intervals: Wilson; in the last row decisions are resampled with all "
        "their rules.",
    ]
    for part, title in titles.items():
        parts += [f"### {title}", _table(head, _accuracy_rows(report["accuracy"][part]))]
    seeds = ", ".join(_percent(a) for a in report["accuracy of single seeds"])
    parts += [
        f"Single seeds, all rules: {seeds}. In the other order of the options the agents have "
        f"{_percent(orders['accuracy exchanged'])} instead of {_percent(orders['accuracy as listed'])}; "
        f"{orders['answers changed']} of {orders['answers']} answers change, and no probability by more than "
        f"{orders['largest change of a probability']:.3f}.",
    ]
    if duel.get("decisions"):
        parts += [
            f"Where two rules conflict (each action violates one of them alone; {duel['n']} "
            f"conflicts in {duel['decisions']} decisions), the two agents take their own rule's side in "
            f"{_interval(duel)} % of the cases; agents that only knew good from bad would have 50."
        ]
    parts += [
        "## Sweep: rate of violating each rule, %",
        "Expected under the policy's probabilities, over all decisions with both labels, each decided by "
        "agents that did not see it. Rows: steering weights. Intervals are in the JSON.",
        _rate_table(report),
        f"## Sweep: from {words(other)} to {words(one)}",
        f"The pair with the most conflicts: {line['conflicts']} decisions. w is the weight of {words(one)}. "
        "Rates are of all decisions; in a conflict, one of the two is violated.",
    ]
    if line["accuracy in conflict"]:
        sides = [f"{words(r)}: {_interval(a)}" for r, a in line["accuracy in conflict"].items()]
        parts.append(f"Each agent's accuracy in these conflicts, %: {'; '.join(sides)}.")
    parts += [_line_table(line), "![Sweep](moralchoice.svg)"]
    return "\n\n".join(parts) + "\n"


def _label_table(labels: Mapping[str, Mapping[str, int]]) -> str:
    kinds = ("one", "neither", "both", "no_agreement")
    rows = [[words(rule), *[str(row.get(k, 0)) for k in kinds]] for rule, row in labels.items()]
    return _table(["rule", "one violates", "neither", "both", "no agreement on one or both"], rows)


def _rate_table(report: Mapping[str, Any]) -> str:
    rows = [
        [
            words(name),
            *[f"**{_percent(row[r]['mean'])}**" if r == name else _percent(row[r]["mean"]) for r in RULES],
            f"{row['rules violated']['mean']:.2f}",
        ]
        for name, row in report["violation rates"].items()
    ]
    rows.append(["unavoidable", *[_percent(report["lowest rates"][r]) for r in RULES], ""])
    return _table(["weights on", *map(words, RULES), "rules violated"], rows)


def _line_table(line: Mapping[str, Any]) -> str:
    one, other = line["rules"]
    head = ["w"]
    for name in line["points"]:
        head += [f"{words(one)} ({name})", words(other), f"{words(one)} violated in conflict"]
    rows = []
    for points in zip(*line["points"].values(), strict=True):
        row = [f"{points[0]['weight']:.1f}"]
        for point in points:
            row += [_interval(point[rule], "mean") for rule in (one, other)]
            row.append(_interval(point["in conflict"], "mean") if "in conflict" in point else "–")
        rows.append(row)
    return _table(head, rows)
