"""Regret of the mixture served to simulated users of the four stories, by how questions are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import pluralign as pl
from pluralign.core import Objective
from pluralign.core.arrays import FloatArray
from pluralign.elicit.calibration import calibrate
from pluralign.elicit.grounding import Planted, questions_by_policies, questions_by_returns
from pluralign.elicit.prior import SimplexPrior
from pluralign.games.exact_front import exact_front, exact_returns
from pluralign.games.state_graph import StateGraph, explore
from pluralign.losses.choice import choice_log_probs
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings, MainJob

NUMBERS = (1, 3, 5, 10)
USERS = (0.1, 0.3, 0.5, 0.7, 0.9)
DECISIVENESS = 2.0
PRIOR = SimplexPrior(decisiveness=1.0)
Chooser = Callable[[pl.WeightPosterior, list[pl.Question], list[str], int], pl.Question | None]


def agents(story: str, seed: int, folder: Path, settings: JobSettings) -> MainJob:
    """The main job up to its agents, one per objective, in the folders of ``experiments/stories.py``."""
    job = MainJob(folder / f"{story}-{seed}", replace(settings, story=story, seed=seed))
    job.models.features = folder / "features"
    if not all(job.policy_folder("oracle", name).exists() for name in job.settings.objectives):
        main_job.collect_offline(job)
        main_job.annotate_by_oracle(job)
        main_job.pair_all(job, {"oracle": "soft"})
        main_job.learn_all(job, ["oracle"])
    return job


def measure(job: MainJob, repeats: int) -> Iterator[dict[str, Any]]:
    """Rows of one story and training seed: user, way, number of questions, utility of the served mixture."""
    names = list(job.settings.objectives)
    policies = job.open("oracle")
    graph = explore(job.make_game())
    pool = questions_by_policies(graph.decisions, policies)
    served = _Served(graph, policies, job.objectives)
    for share in USERS:
        user = np.array([share, *[(1 - share) / (len(names) - 1)] * (len(names) - 1)])
        weights = pl.SteeringWeights(dict(zip(names, user.tolist(), strict=True)))
        best = served.best(user)
        for way, mix in (("true weights", weights), ("uniform weights", pl.SteeringWeights.uniform(names))):
            yield {"user": share, "way": way, "questions": 0, "regret": best - served.utility(mix, user)}
        for repeat in range(repeats):
            person = Planted(weights, DECISIVENESS, dict.fromkeys(names, 1.0), seed=repeat)
            for way, choose in WAYS.items():
                for number, mean in _interview(pool, person, choose, names, repeat):
                    yield {"user": share, "way": way, "questions": number, "repeat": repeat,
                           "regret": best - served.utility(mean, user),
                           "error": float(np.abs(mean.aligned_to(names) - user).sum())}  # fmt: skip


def measure_dials(job: MainJob) -> Iterator[dict[str, Any]]:
    """Rows of one story and training seed: user, and the regret of each way to set the dial.

    Regret is measured against the best of 21 dials, so that it is what another dial could save.
    """
    names = list(job.settings.objectives)
    policies = job.open("oracle")
    graph = explore(job.make_game())
    served = _Served(graph, policies, job.objectives)
    mixture = pl.SteeredPolicy(policies, pl.SteeringWeights.uniform(names))
    found = calibrate(questions_by_returns(graph, job.objectives), mixture.with_weights)
    units = np.array([found.scales[name] for name in names])
    for share in USERS:
        user = np.array([share, *[(1 - share) / (len(names) - 1)] * (len(names) - 1)])
        # The user's utility is in shares of the front's range, implied weights in units of the pool.
        converted = user / served.range * units
        wanted, plain, scaled = (
            pl.SteeringWeights(dict(zip(names, (own / own.sum()).tolist(), strict=True)))
            for own in (converted, user, converted)
        )
        best = max(served.utility(mix, user) for mix in pl.simplex_grid(names, 20))
        dials = {"utility as weights": plain, "in units of the values": scaled,
                 "calibrated dial": found.dial(wanted)[0]}  # fmt: skip
        for way, mix in dials.items():
            yield {"user": share, "way": way, "regret": best - served.utility(mix, user)}


class _Served:
    """Exact utilities of mixtures, in shares of each objective's range over the exact front."""

    def __init__(
        self, graph: StateGraph, policies: dict[str, pl.Policy], objectives: list[Objective]
    ) -> None:
        self._graph, self._policies, self._objectives = graph, policies, objectives
        front = exact_front(graph, objectives)
        self._low, self.range = front.points.min(axis=0), np.ptp(front.points, axis=0)
        self._points = (front.points - self._low) / self.range
        self._known: dict[tuple[float, ...], FloatArray] = {}

    def best(self, user: FloatArray) -> float:
        """Utility of the exact front's best point for a user."""
        return float((self._points @ user).max())

    def utility(self, weights: pl.SteeringWeights, user: FloatArray) -> float:
        """Utility of the mixture under these weights; weights are rounded to hundredths."""
        names = [objective.name for objective in self._objectives]
        key = tuple(weights.aligned_to(names).round(2).tolist())
        if key not in self._known:
            mix = pl.SteeringWeights(dict(zip(names, (np.array(key) / sum(key)).tolist(), strict=True)))
            found = exact_returns(self._graph, pl.SteeredPolicy(self._policies, mix), self._objectives)
            returns = np.array([found.objectives[name] for name in names])
            self._known[key] = (returns - self._low) / self.range
        return float(self._known[key] @ user)


def _interview(
    pool: list[pl.Question], person: Planted, choose: Chooser, names: list[str], seed: int
) -> Iterator[tuple[int, pl.SteeringWeights]]:
    units = dict.fromkeys(names, 1.0)
    choices: list[pl.Choice] = []
    for number in range(max(NUMBERS)):
        known = pl.infer_weights(choices, names, prior=PRIOR, scales=units, draws=2048)
        question = choose(known, pool, [choice.question.decision.key for choice in choices], seed)
        if question is None:
            break
        choices.append(pl.Choice(question, person.answer(question)))
        if number + 1 in NUMBERS:
            yield number + 1, pl.infer_weights(choices, names, prior=PRIOR, scales=units).mean


def _at_random(
    known: pl.WeightPosterior, pool: list[pl.Question], asked: list[str], seed: int
) -> pl.Question | None:
    left = [question for question in pool if question.decision.key not in asked]
    return left[int(np.random.default_rng([seed, len(asked)]).integers(len(left)))] if left else None


def _by_information(
    known: pl.WeightPosterior, pool: list[pl.Question], asked: list[str], seed: int
) -> pl.Question | None:
    suggestion = pl.next_question(known, pool, asked=asked, seed=seed)
    return None if suggestion is None else suggestion.question


def _by_determinant(
    known: pl.WeightPosterior, pool: list[pl.Question], asked: list[str], seed: int
) -> pl.Question | None:
    """D-optimal: the largest gain in the determinant of the information at the posterior mean."""
    left = [question for question in pool if question.decision.key not in asked]
    if not left:
        return None
    theta = known.shares @ known.theta
    apart = known.theta - theta
    covariance = (known.shares[:, None] * apart).T @ apart
    gains: list[float] = []
    for question in left:
        values = np.array([[own[name] for name in known.objectives] for own in question.values])
        probs = np.exp(choice_log_probs(values[None], np.ones((1, len(values)), bool), theta[None])[0, 0])
        centred = values - probs @ values
        information = (probs[:, None] * centred).T @ centred
        gains.append(float(np.linalg.slogdet(np.eye(len(theta)) + covariance @ information)[1]))
    return left[int(np.argmax(gains))]


WAYS: dict[str, Chooser] = {
    "random questions": _at_random,
    "D-optimal questions": _by_determinant,
    "chosen questions": _by_information,
}
