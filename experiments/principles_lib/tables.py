"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moralchoice_lib.data import RULES

from principles_lib.at_stake import LEFT_OUT, OWN, SHARED
from principles_lib.left_out import SEEN, WITH, WITHOUT


def as_markdown(report: Mapping[str, Any]) -> str:
    """The page of results."""
    left, stake, settings = report["rule left out"], report["at stake"], report["settings"]
    judge = stake["judge"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    seeds = "; ".join(
        f"{kind} {', '.join(map(_percent, own))}" for kind, own in left["accuracy by seed"].items()
    )
    parts = [
        "# Principles: a rule that was left out, and which rules are at stake",
        f"`OMP_NUM_THREADS=1 {report['command']}`",
        f"{report['decisions']} of MoralChoice's 1,026 decisions (one of {settings['every']}, by a hash). "
        f"Frozen features of {settings['model']} ({report['features_dtype']}); heads with 64 hidden units, "
        f"{settings['steps']} steps; {settings['folds']} folds of decisions, {settings['seeds']} seeds of "
        f"folds and heads. Versions: {versions}.",
        "## A preference head that reads the principle",
        "The principle stands before the decision. Trained on nine rules, tested on the tenth, on decisions "
        "that no head has seen: how often the act that does not violate the rule has the higher score, %. "
        "*No principle* is the same without the principle, which can only know what is good in general; "
        "*rule seen* was trained on the tenth rule, too. Contested: another rule has its safe act on the "
        "other side.",
        _left_table(left),
        f"With minus without the principle, over all pairs: {_points(left['difference'])}; where contested: "
        f"{_points(left['difference where contested'])} (95 %, bootstrap over decisions). By seed: "
        f"{seeds}.",
        "## Is the rule at stake?",
        "A rule is at stake if one of the two acts violates it. The prompt is the decision with its acts; "
        "features are those of the rule's words after the prompt. Areas under the ROC curve (chance 0.5) of "
        "the mean of the seeds' logits; intervals by a bootstrap over decisions. The probe of the rule is "
        "linear. The judge is the same model, asked two opposite questions about "
        f"{judge['decisions']} decisions.",
        _stake_table(stake),
        f"The judge contradicts itself on {_percent(judge['contradictions'])} % of the questions; areas of "
        f"its questions alone: {judge['first question alone']:.2f}, {judge['opposite question alone']:.2f}.",
        "What the factors would do: share of rules whose weight is lowered (probability below 1/2), %.",
        _lowered_table(stake),
    ]
    return "\n\n".join(parts) + "\n"


def _left_table(left: Mapping[str, Any]) -> str:
    kinds, contested = (WITH, WITHOUT, SEEN), left["accuracy where contested"]
    head = ["rule", "pairs", *kinds, "contested", *[f"{kind}, contested" for kind in (WITH, WITHOUT)]]
    rows = [
        [
            rule.replace("_", " "), str(left["pairs"].get(rule, sum(left["pairs"].values()))),
            *[_percent(left["accuracy"][kind][rule]) for kind in kinds],
            str(left["contested"].get(rule, sum(left["contested"].values()))),
            *[_percent(contested[kind][rule]) for kind in (WITH, WITHOUT)],
        ]
        for rule in (*RULES, "all")
    ]  # fmt: skip
    return _table(head, rows)


def _stake_table(stake: Mapping[str, Any]) -> str:
    kinds = (OWN, SHARED, LEFT_OUT, "judge")
    rows = [
        [
            rule.replace("_", " "),
            _percent(stake["base rate"][rule]),
            *[f"{stake[kind]['area'][rule]:.2f}" for kind in kinds],
        ]
        for rule in RULES
    ]
    means = [f"{stake[k]['mean area']:.2f} ({stake[k]['low']:.2f} to {stake[k]['high']:.2f})" for k in kinds]
    return _table(["rule", "at stake, %", *kinds], [*rows, ["mean (95 %)", "", *means]])


def _lowered_table(stake: Mapping[str, Any]) -> str:
    kinds = (OWN, SHARED, LEFT_OUT, "judge")
    names = ("at stake", "not at stake")
    rows = [[name, *[_percent(stake[kind]["lowered"][name]) for kind in kinds]] for name in names]
    return _table(["", *kinds], rows)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _points(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "none"
    return f"{100 * found['mean']:+.1f} points ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
