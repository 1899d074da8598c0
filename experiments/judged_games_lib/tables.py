"""The experiment's results as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

POOLED = "the four stories"
"""Name of the rows over all built-in stories."""


def table(figures: Mapping[str, Any]) -> list[str]:
    """Both parts as lines of text."""
    lines = [
        "# A judge of options",
        "",
        "`python experiments/judged_games.py --interactive-fiction DIR`",
        "",
        f"{figures['model']} compares the options of decisions that {figures['episodes']} episodes of random "
        f"play meet: {figures['comparisons']} comparisons for each story and objective, "
        f"{figures['variable_comparisons']} on The Intercept, the decisions of most episodes first. Each "
        "pair is asked in both orders and decided by the mean log-odds. Right: the share of comparisons with "
        "different labels where it prefers the better one. 95 % intervals, for the shares over decisions. "
        f"Seed {figures['seed']}.",
        "",
        "| game | objective | kappa | kappa without ties | right | comparisons with different labels |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for game, rows in figures["agreement"].items():
        for name, row in rows.items():
            lines.append(f"| {game} | {name} | {agreement_cells(row)} |")
    asked = [row for game, rows in figures["agreement"].items() for row in rows.values() if game != POOLED]
    contradicted, judged = sum(r["orders disagree"] for r in asked), sum(r["judged"] for r in asked)
    lines += ["", f"The two orders disagree on {contradicted} of {judged} comparisons."]
    found = figures["starforge"]
    first, second = found["random"]
    lines += [
        "",
        "## Starforge, a game without labels",
        "",
        f"The judge compares {found['judged']} pairs of options for each objective; the share of rivals that "
        "an option beats is its label, from -1 to 1. One CPL agent learns from random play for each. Mean "
        f"judged returns over {figures['play']} episodes, ± standard error. Labels cover "
        f"{found['judged decisions']} of {found['decisions with a choice']} decisions with a choice that "
        f"random play meets, and {found['judged steps']} of its {found['steps with a choice']} steps there. "
        f"The most that any play gets: {found['best'][first]:.2f} {first}, {found['best'][second]:.2f} "
        f"{second}.",
        "",
        f"| who plays | {first} | {second} |",
        "| --- | ---: | ---: |",
    ]
    for name, row in {"random": found["random"], **found["agents"]}.items():
        cells = " | ".join(f"{row[o]['mean']:.2f} ± {row[o]['stderr']:.2f}" for o in (first, second))
        lines.append(f"| {name if name == 'random' else f'CPL {name}'} | {cells} |")
    for point in found["sweep"]:
        cells = " | ".join(f"{point['returns'][o]:.2f} ± {point['stderr'][o]:.2f}" for o in (first, second))
        weights = " and ".join(f"{point['weights'][o]:.1f} {o}" for o in (first, second))
        lines.append(f"| steered, {weights} | {cells} |")
    spans = [
        f"{name} {span['value']:.2f} ({span['low']:.2f} to {span['high']:.2f})"
        for name, span in found["spearman of an objective with its own weight"].items()
    ]
    return [
        *lines,
        "",
        f"Spearman's rank correlation of an objective's mean with its own weight: {', '.join(spans)}. The "
        "weightings cover "
        + "{:.0f} % ({:.0f} to {:.0f}) ".format(
            *(100 * x for x in (found["hypervolume over the exact front's"], *found["interval"]))
        )
        + "of the exact front's hypervolume.",
        "",
        "![The sweep on Starforge](judged_games.svg)",
    ]


def agreement_cells(row: Mapping[str, Any]) -> str:
    """Kappas and the share of right answers, with intervals."""
    cells = [
        "-"
        if kappa is None or kappa["kappa"] is None
        else f"{kappa['kappa']:.2f} ({kappa['low']:.2f} to {kappa['high']:.2f})"
        for kappa in (row["all"], row["without_ties"])
    ]
    right = row["right"]
    if right is None:
        return " | ".join([*cells, "-", "0"])
    share = f"{100 * right['share']:.0f} % ({100 * right['low']:.0f} to {100 * right['high']:.0f})"
    return " | ".join([*cells, share, str(right["comparisons"])])
