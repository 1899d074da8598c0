"""``pluralign learn avril`` and ``pluralign evaluate story-rewards``: a posterior over a demonstrator's
rewards, and its comparison with the story's true rewards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluralign.cli.common import JsonFile, game_maker, give_figures, objectives_of, say, wrote
from pluralign.cli.learn import tell_learned
from pluralign.core.digests import source_digest
from pluralign.core.files import write_text
from pluralign.core.records import read_trajectories
from pluralign.learn.options.avril import AVRILConfig, fit_avril
from pluralign.options.open import DEFAULT_MODEL, Models

if TYPE_CHECKING:
    from pluralign.core import Trajectory
    from pluralign.evaluate.rewards.rank_agreement import RankAgreement
    from pluralign.evaluate.rewards.ranks import RewardRanks, RewardRows, Truth
    from pluralign.options.option_reward import OptionRewardPosterior


def learn_avril(
    data: Path,
    out: Path,
    model: str = DEFAULT_MODEL,
    config: AVRILConfig = AVRILConfig(),  # noqa: B008 - frozen
    features: Path | None = None,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Train AVRIL: a posterior over rewards from behaviour. Rewards in the file are not used.

    If the same command is run again, an interrupted run continues and ends with the same weights.

    Example: pluralign learn avril --data runs/t.jsonl --out runs/wants

    Args:
        data: File of trajectories (trajectories.jsonl).
        out: Output folder.
        model: Frozen trunk: smollm2-135m, a hub id or a local folder.
        config: Settings of the method.
        features: Folder that keeps the trunk's features between runs.
        seed: Random seed of weights and data order.
        json: File for the figures.
    """
    fit_avril(
        read_trajectories(data),
        store=Models(model, features).store,
        out=out,
        config=config,
        seed=seed,
        provenance=source_digest(data),
    )
    tell_learned(out, json)


def evaluate_story_rewards(
    model: Path,
    data: Path,
    story: str = "",
    objectives: tuple[str, ...] = ("score", "harm_avoidance", "power_avoidance"),
    out: Path | None = None,
    features: Path | None = None,
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Compare a reward posterior with the story's true rewards: rank correlations with 95 % intervals.

    Example: pluralign evaluate story-rewards --model runs/wants --data runs/t.jsonl --story salt_ledger
    --out runs/wants-report

    Args:
        model: Folder written by `learn avril`.
        data: File of its training trajectories, or of others of the same story.
        story: Name of the story, to compare all options of the decisions by their exact rewards. Without a
            story, the options that were taken are compared, by the rewards in the file.
        objectives: Names of the story's objectives; without a story, all objectives in the file.
        out: Folder for a table and a figure.
        features: Folder that keeps a language model's features between runs.
        seed: Random seed of the resampling.
        json: File for the figures.
    """
    from pluralign.evaluate.rewards.ranks import compare_rewards, reward_rows

    trajectories = read_trajectories(data)
    posterior = _open(model, features)
    rows = reward_rows(posterior, trajectories, _truth(trajectories, story, objectives))
    ranks = compare_rewards(rows, seed=seed)
    table = ranks_table(ranks)
    say(table)
    if out is not None:
        _write_report(out, rows, ranks, table)
    give_figures({"data": data.name, "model": model.name, "story": story, **asdict(ranks)}, json)


def _open(folder: Path, features: Path | None) -> OptionRewardPosterior:
    from pluralign.folders.card import read_card
    from pluralign.options.option_reward import KIND, load_option_reward

    models = Models(DEFAULT_MODEL, features).of_folder(folder, read_card(folder, KIND))
    return load_option_reward(folder, models.store)


def _truth(trajectories: list[Trajectory], story: str, objectives: tuple[str, ...]) -> Truth:
    from pluralign.evaluate.rewards.ranks import exact_rewards, observed_rewards, visited
    from pluralign.games.state_graph import explore

    if not story:
        return observed_rewards(trajectories)
    make_game = game_maker(story)
    graph = explore(make_game())
    return exact_rewards(graph, objectives_of(make_game, objectives), visited(trajectories))


def ranks_table(ranks: RewardRanks) -> str:
    """The correlations as a Markdown table, one row per pair of rankings."""
    lines = [
        f"{ranks.options} options of {ranks.decisions} decisions; 95 % intervals from resampled decisions",
        "",
        "| order | against | Spearman | Kendall | within decisions | decisions |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for label, found in (("posterior mean", ranks.mean), ("log-probability", ranks.log_policy)):
        lines += [_row(label, name.replace("_", " "), agreement) for name, agreement in found.items()]
    lines.append(_row("sigma", "visits", ranks.sigma_visits))
    lines.append(_row("sigma", "visits, options taken", ranks.sigma_visits_taken))
    return "\n".join(lines)


def _row(order: str, against: str, found: RankAgreement) -> str:
    cells = " | ".join(str(part) for part in (found.spearman, found.kendall, found.within))
    return f"| {order} | {against} | {cells} | {found.within.pairs} |"


def _write_report(out: Path, rows: RewardRows, ranks: RewardRanks, table: str) -> None:
    from pluralign.evaluate.pictures.rewards import RewardPanel, draw_rewards

    panels = [
        RewardPanel(
            title=name.replace("_", " "),
            note=f"Spearman {ranks.mean[name].spearman}",
            truth=truth,
            mean=rows.mean,
            sigma=rows.sigma,
            taken=rows.visits > 0,
            label="true reward",
        )
        for name, truth in rows.truth.items()
    ]
    draw_rewards([panels], out / "rewards.svg")
    text: dict[str, Any] = {"title": "# Posterior rewards against true ones", "table": table}
    text["picture"] = "![posterior mean with sigma against the true reward](rewards.svg)"
    write_text(out / "rewards.md", "\n\n".join(text.values()) + "\n")
    wrote(out, "rewards.md, rewards.svg")
