"""Rank correlations between a learned reward and the true reward, with intervals over decisions.

Behaviour determines a reward only up to its scale and a potential that telescopes over an episode (Ng, Harada
and Russell 1999), so only ranks are compared. Ranks within a decision do not depend on differences between
decisions; the consequences of an option still affect them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pluralign.core import Decision, InputError, Objective, Trajectory
from pluralign.core.arrays import FloatArray, IntArray
from pluralign.core.checks import require_at_least
from pluralign.evaluate.rewards.rank_agreement import RESAMPLES, RankAgreement, rank_agreement
from pluralign.games.open import open_story
from pluralign.games.state_graph import StateGraph, explore

Truth = Mapping[str, Sequence[FloatArray]]
"""True rewards of each decision's options by objective, shape (options,); NaN where not known."""


class _Gaussian(Protocol):
    @property
    def mean(self) -> FloatArray: ...

    @property
    def sigma(self) -> FloatArray: ...


class RewardPosterior(Protocol):
    """A posterior with Gaussian rewards of options: `options.option_reward.OptionRewardPosterior`."""

    def rewards(self, decisions: Sequence[Decision]) -> Sequence[_Gaussian]:
        """Mean and sigma of each decision's options."""
        ...

    def log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """Log-probabilities of the demonstrator's policy."""
        ...


@dataclass(frozen=True, eq=False)
class RewardRows:
    """A posterior with the true rewards; one row per option, shape (rows,) throughout.

    Args:
        owner: Decision number of the option.
        mean: Mean of the posterior.
        sigma: Standard deviation of the posterior.
        log_policy: Log-probability of the option, nats; the baseline of ranking by behaviour alone.
        visits: Number of times the option was taken in the data.
        truth: True rewards by objective.
    """

    owner: IntArray
    mean: FloatArray
    sigma: FloatArray
    log_policy: FloatArray
    visits: IntArray
    truth: Mapping[str, FloatArray]


@dataclass(frozen=True)
class RewardRanks:
    """Rank correlations of the posterior with the true reward, and of its sigma with the amount of data.

    Args:
        mean: Agreement of the posterior's mean with the true reward, by objective.
        log_policy: Agreement of the option's log-probability with the true reward, for comparison.
        sigma_visits: Correlation of sigma with the number of times an option was taken; negative if sigma
            indicates sparse data.
        sigma_visits_taken: The same over the options that were taken at least once.
        decisions: Number of decisions.
        options: Number of options.
    """

    mean: Mapping[str, RankAgreement]
    log_policy: Mapping[str, RankAgreement]
    sigma_visits: RankAgreement
    sigma_visits_taken: RankAgreement
    decisions: int
    options: int

    def table(self) -> str:
        """The correlations as a Markdown table, one row for each pair of rankings."""
        lines = [
            f"{self.options} options of {self.decisions} decisions; 95 % intervals from resampled decisions",
            "",
            "| order | against | Spearman | Kendall | within decisions | decisions |",
            "| --- | --- | ---: | ---: | ---: | ---: |",
        ]
        for label, found in (("posterior mean", self.mean), ("log-probability", self.log_policy)):
            lines += [_row(label, name.replace("_", " "), agreement) for name, agreement in found.items()]
        lines.append(_row("sigma", "visits", self.sigma_visits))
        lines.append(_row("sigma", "visits, options taken", self.sigma_visits_taken))
        return "\n".join(lines)


def visited(trajectories: Sequence[Trajectory]) -> list[Decision]:
    """Distinct decisions of the trajectories, in order of first appearance."""
    return list({step.decision.key: step.decision for t in trajectories for step in t.steps}.values())


def true_rewards(trajectories: Sequence[Trajectory], story: str, objectives: Sequence[str]) -> Truth:
    """Rewards to compare with: the story's exact ones, or without a story those in the trajectories.

    Args:
        trajectories: Trajectories, of whose decisions the rewards are given.
        story: Name or path of a story, or nothing.
        objectives: Names of the story's objectives.
    """
    if not story:
        return observed_rewards(trajectories)
    game = open_story(story).make_game()
    return exact_rewards(explore(game), game.info.select(objectives), visited(trajectories))


def observed_rewards(trajectories: Sequence[Trajectory]) -> Truth:
    """Mean reward of every option that was taken, in the order of `visited`; NaN for the others.

    Raises:
        InputError: The steps have no rewards.
    """
    decisions = visited(trajectories)
    numbers = {decision.key: i for i, decision in enumerate(decisions)}
    names = list(trajectories[0].steps[0].rewards) if trajectories else []
    if not names:
        raise InputError("the trajectories have no rewards to compare with", field="rewards")
    sums = {name: [np.zeros(len(decision.options)) for decision in decisions] for name in names}
    counts = _visits(trajectories, decisions)
    for trajectory in trajectories:
        for step in trajectory.steps:
            for name in names:
                if name not in step.rewards:
                    raise InputError(f"trajectory '{trajectory.id}' has no rewards for objective '{name}'")
                sums[name][numbers[step.decision.key]][step.action] += step.rewards[name]
    return {
        name: [
            np.where(count > 0, total / np.maximum(count, 1), np.nan)
            for total, count in zip(totals, counts, strict=True)
        ]
        for name, totals in sums.items()
    }


def exact_rewards(graph: StateGraph, objectives: Sequence[Objective], decisions: Sequence[Decision]) -> Truth:
    """Reward of every option of these decisions, taken or not: the mean over the states that show it.

    In most stories rewards depend only on the text shown; they differ if an achievement was won before.

    Raises:
        InputError: The story does not have one of the decisions.
    """
    numbers = {decision.key: i for i, decision in enumerate(graph.decisions)}
    rewards = graph.rewards(objectives)
    sums = [np.zeros((len(decision.options), len(objectives))) for decision in graph.decisions]
    counts = np.zeros(len(graph.decisions))
    for state in range(1, len(graph.states)):
        number = int(graph.decision_of[state])
        sums[number] += rewards[graph.first[state] : graph.first[state + 1]]
        counts[number] += 1
    rows: list[FloatArray] = []
    for decision in decisions:
        if decision.key not in numbers:
            raise InputError(f"the story has no such decision: {decision.prompt[-60:]!r}")
        number = numbers[decision.key]
        rows.append(sums[number] / counts[number])
    return {objective.name: [row[:, i] for row in rows] for i, objective in enumerate(objectives)}


def reward_rows(posterior: RewardPosterior, trajectories: Sequence[Trajectory], truth: Truth) -> RewardRows:
    """Every option of the data's decisions whose true reward is known.

    Args:
        posterior: Posterior trained on the trajectories.
        trajectories: Trajectories, for the decisions and the number of times each option was taken.
        truth: True rewards in the order of `visited`, from `observed_rewards` or `exact_rewards`.

    Raises:
        InputError: There is no such option.
    """
    decisions = visited(trajectories)
    gaussians, policies = posterior.rewards(decisions), posterior.log_probs(decisions)
    columns = {name: np.concatenate(rows) for name, rows in truth.items()}
    known = ~np.isnan(np.stack(list(columns.values()))).any(axis=0)
    if not known.any():
        raise InputError("no option's true reward is known")
    sizes = [len(decision.options) for decision in decisions]
    return RewardRows(
        owner=np.repeat(np.arange(len(decisions)), sizes)[known],
        mean=np.concatenate([gaussian.mean for gaussian in gaussians])[known],
        sigma=np.concatenate([gaussian.sigma for gaussian in gaussians])[known],
        log_policy=np.concatenate(policies)[known],
        visits=np.concatenate(_visits(trajectories, decisions))[known],
        truth={name: column[known] for name, column in columns.items()},
    )


def compare_rewards(rows: RewardRows, *, resamples: int = RESAMPLES, seed: int = 0) -> RewardRanks:
    """Rank agreement of the posterior with the true reward, for every objective.

    Raises:
        InputError: See `rank_agreement`.
    """
    require_at_least(0, seed=seed)

    def agreement(first: FloatArray, second: FloatArray, owner: IntArray) -> RankAgreement:
        return rank_agreement(first, second, owner, resamples=resamples, seed=seed)

    visits, taken = rows.visits.astype(np.float64), rows.visits > 0
    return RewardRanks(
        mean={name: agreement(rows.mean, column, rows.owner) for name, column in rows.truth.items()},
        log_policy={
            name: agreement(rows.log_policy, column, rows.owner) for name, column in rows.truth.items()
        },
        sigma_visits=agreement(rows.sigma, visits, rows.owner),
        sigma_visits_taken=agreement(rows.sigma[taken], visits[taken], rows.owner[taken]),
        decisions=len(np.unique(rows.owner)),
        options=len(rows.owner),
    )


def _visits(trajectories: Sequence[Trajectory], decisions: Sequence[Decision]) -> list[IntArray]:
    numbers = {decision.key: i for i, decision in enumerate(decisions)}
    counts = [np.zeros(len(decision.options), dtype=np.int64) for decision in decisions]
    for trajectory in trajectories:
        for step in trajectory.steps:
            counts[numbers[step.decision.key]][step.action] += 1
    return counts


def _row(order: str, against: str, found: RankAgreement) -> str:
    cells = " | ".join(str(part) for part in (found.spearman, found.kendall, found.within))
    return f"| {order} | {against} | {cells} | {found.within.pairs} |"
