"""``avril_stories.json`` and ``avril_stories.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from console import write_page

from avril_lib.demonstrators import OBJECTIVES
from pluralign.core.files import write_json
from pluralign.evaluate.rank_correlation import Correlation

Figures = Mapping[str, Any]


def correlation(found: Figures) -> Correlation:
    """The correlation that was written to a file."""
    return Correlation(**found)


def write_results(runs: Sequence[Figures], settings: Figures, config: Figures, folder: Path) -> None:
    """Write both files.

    Args:
        runs: Figures, one per seed, story, demonstrator and prior weight.
        settings: Settings of the demonstrators.
        config: Settings of AVRIL.
        folder: Folder of the files.
    """
    write_json(folder / "avril_stories.json", {"settings": settings, "avril": config, "runs": list(runs)})
    lines = [
        "# AVRIL on four stories",
        "",
        "`python experiments/avril_stories.py`",
        "",
        f"{settings['episodes']} episodes of each demonstrator (rational: softmax(Q / T), T = "
        f"{settings['rationality']:g} of the range of attainable returns); AVRIL with "
        f"{', '.join(f'{k} {v}' for k, v in config.items() if k != 'kl_weight')}, on features of "
        "smollm2-135m. Rank correlations with the exact reward of an option, over all options of the "
        "decisions met; 95 % intervals from resampled decisions. 'Within' is the mean over decisions of "
        "Kendall's tau between a decision's own options. 'Policy alone' ranks options by their "
        "log-probability under the same model's Q-values, with no reward posterior.",
    ]
    seeds = list(dict.fromkeys(run["seed"] for run in runs))
    weights = list(dict.fromkeys(run["kl_weight"] for run in runs))
    if len(seeds) > 1:
        for kl_weight in weights:
            some = [run for run in runs if run["kl_weight"] == kl_weight]
            heading = (
                f"## Seeds {', '.join(map(str, seeds))}, prior's weight {kl_weight:g}: mean, and each seed"
            )
            lines += ["", heading, "", *_across(some)]
    for kl_weight in weights:
        some = [run for run in runs if run["kl_weight"] == kl_weight and run["seed"] == seeds[0]]
        heading = f"## Seed {seeds[0]}, prior's weight {kl_weight:g}"
        lines += ["", heading, "", *_rewards(some), "", *_sigmas(some)]
    write_page(folder / "avril_stories.md", lines)


def _across(runs: Sequence[Figures]) -> list[str]:
    lines = [
        "| story | demonstrator | objective | mean: Spearman | within | policy alone: Spearman | within |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for story, demonstrator in dict.fromkeys((run["story"], run["demonstrator"]) for run in runs):
        own = [run for run in runs if (run["story"], run["demonstrator"]) == (story, demonstrator)]
        for objective in OBJECTIVES:
            cells = [
                _each([run[ranking][objective][kind]["value"] for run in own])
                for ranking in ("mean", "log_policy")
                for kind in ("spearman", "within")
            ]
            lines.append(f"| {story} | {demonstrator} | {objective} | {' | '.join(cells)} |")
    return lines


def _each(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.2f} ({', '.join(f'{value:.2f}' for value in values)})"


def _rewards(runs: Sequence[Figures]) -> list[str]:
    lines = [
        "| story | demonstrator | objective | mean: Spearman | Kendall | within |"
        " policy alone: Spearman | within |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        for objective in OBJECTIVES:
            mean, policy = run["mean"][objective], run["log_policy"][objective]
            parts = [mean["spearman"], mean["kendall"], mean["within"], policy["spearman"], policy["within"]]
            cells = " | ".join(str(correlation(part)) for part in parts)
            lines.append(f"| {run['story']} | {run['demonstrator']} | {objective} | {cells} |")
    return lines


def _sigmas(runs: Sequence[Figures]) -> list[str]:
    lines = [
        "What was done, and whether sigma tells what was done seldom (Spearman with the number of visits).",
        "",
        "| story | demonstrator | mean score | mean harm avoidance | decisions | options | of them taken |"
        " sigma and visits | of options taken | sigma: least, median, largest | greatest mean |"
        " true score and harm avoidance, within |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        returns = run["mean_returns"]
        cells = [f"{returns['score']:.1f}", f"{returns['harm_avoidance']:.1f}"]
        cells += [str(run[key]) for key in ("decisions", "options", "taken")]
        cells += [str(correlation(run[key]["spearman"])) for key in ("sigma_visits", "sigma_visits_taken")]
        cells += [", ".join(f"{sigma:.2f}" for sigma in run["sigmas"]), f"{run['largest_mean']:.2f}"]
        cells.append(str(correlation(run["score_against_harm"]["within"])))
        lines.append(f"| {run['story']} | {run['demonstrator']} | {' | '.join(cells)} |")
    return lines
