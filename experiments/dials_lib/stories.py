"""Surrogates of mixtures of learned agents on a story, compared with the exact returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from dials_lib.figures import figures, regret, users_of

import pluralign as pl
from pluralign.core.arrays import FloatArray
from pluralign.core.pareto import hypervolume, rescale
from pluralign.evaluate.play import evaluate_policy
from pluralign.evaluate.sweeps.fronts import reference_below
from pluralign.games.exact_front import exact_returns
from pluralign.games.state_graph import explore
from pluralign.steer.design import design
from pluralign.steer.surrogate import fit_surrogate
from pluralign.workflows.main_job import MainJob

BUDGETS = (6, 10, 15)
EPISODES = 50
PROPOSALS = 10
"""Number of weightings of a predicted front that are evaluated."""


class Outcomes:
    """Exact returns of the mixture under any weighting, scaled to the range over the grid."""

    def __init__(self, job: MainJob, steps: int) -> None:
        self.names = list(job.settings.objectives)
        self._job, self._graph, self._policies = job, explore(job.make_game()), job.open("oracle")
        self._known: dict[tuple[float, ...], FloatArray] = {}
        self.grid = pl.simplex_grid(self.names, steps)
        raw = np.array([self._returns(weights) for weights in self.grid])
        self._low, self._high = raw.min(axis=0), raw.max(axis=0)
        self.array = np.array([weights.aligned_to(self.names) for weights in self.grid])
        self.exact = np.array([self.of(weights) for weights in self.grid])
        self.reference = reference_below(self.exact)

    def of(self, weights: pl.SteeringWeights) -> FloatArray:
        """Outcomes of one weighting, shape (objectives,)."""
        return rescale(self._returns(weights)[None], self._low, self._high)[0]

    def played(self, weightings: Sequence[pl.SteeringWeights], seed: int) -> FloatArray:
        """Mean returns of a few played episodes instead of exact ones, shape (weightings, objectives)."""
        means = [
            [
                evaluate_policy(
                    self._job.make_game, pl.SteeredPolicy(self._policies, weights), episodes=EPISODES,
                    seed=seed, objectives=self._job.objectives,
                ).returns[name].mean
                for name in self.names
            ]
            for weights in weightings
        ]  # fmt: skip
        return rescale(np.array(means), self._low, self._high)

    def _returns(self, weights: pl.SteeringWeights) -> FloatArray:
        key = tuple(weights.aligned_to(self.names).round(3).tolist())
        if key not in self._known:
            mix = pl.SteeringWeights(dict(zip(self.names, (np.array(key) / sum(key)).tolist(), strict=True)))
            policy = pl.SteeredPolicy(self._policies, mix)
            found = exact_returns(self._graph, policy, self._job.objectives)
            self._known[key] = np.array([found.objectives[name] for name in self.names])
        return self._known[key]


def measure(job: MainJob, draws: int, steps: int) -> Iterator[dict[str, Any]]:
    """Rows of one story and training seed."""
    outcomes = Outcomes(job, steps)
    users = users_of(outcomes.names)
    plain = [regret(outcomes, weights, weights) for weights in users]
    yield {"budget": 0, "way": "utility as weights", "regret": float(np.mean(plain))}
    for budget in BUDGETS:
        filled = design(outcomes.names, budget)
        exact = np.array([outcomes.of(weights) for weights in filled])
        checked = front_checked(outcomes, filled, exact)
        yield {"budget": budget, "way": "fill", **figures(outcomes, filled, exact, users), **checked}
        grown = by_volume(outcomes, budget)
        exact = np.array([outcomes.of(weights) for weights in grown])
        yield {"budget": budget, "way": "by volume", **figures(outcomes, grown, exact, users)}
        played = outcomes.played(filled, seed=job.settings.seed)
        yield {
            "budget": budget,
            "way": f"fill, {EPISODES} episodes",
            **figures(outcomes, filled, played, users),
        }
        for draw in range(draws):
            rng = np.random.default_rng([job.settings.seed, budget, draw])
            corners = [int(outcomes.array[:, k].argmax()) for k in range(len(outcomes.names))]
            others = [place for place in range(len(outcomes.grid)) if place not in corners]
            chosen = [*corners, *rng.choice(others, budget - len(corners), replace=False).tolist()]
            own = [outcomes.grid[place] for place in chosen]
            try:
                yield {"budget": budget, "way": "corners and random",
                       **figures(outcomes, own, outcomes.exact[chosen], users)}  # fmt: skip
            except pl.InputError:
                # The draw does not determine a quadratic.
                continue


def front_checked(
    outcomes: Outcomes, chosen: Sequence[pl.SteeringWeights], seen: FloatArray
) -> dict[str, float]:
    """Figures of the predicted front when ten of its weightings are evaluated: how much larger the predicted
    hypervolume is, as a share, and the hypervolume of all that was evaluated, as a share of the grid's."""
    found = fit_surrogate(chosen, seen, objectives=outcomes.names)
    proposed = found.proposals(PROPOSALS)
    promised = found.predict([weights.aligned_to(outcomes.names) for weights in proposed])
    exact = np.array([outcomes.of(weights) for weights in proposed])
    volume = hypervolume(exact, outcomes.reference)
    whole = hypervolume(outcomes.exact, outcomes.reference)
    evaluated = np.vstack([seen, exact])
    return {
        "optimism": hypervolume(promised, outcomes.reference) / volume - 1,
        "checked_volume": hypervolume(evaluated, outcomes.reference) / whole,
    }


def by_volume(outcomes: Outcomes, budget: int) -> list[pl.SteeringWeights]:
    """A design that begins by filling, and then adds what the surrogate says increases the volume most."""
    chosen = design(outcomes.names, 6)
    while len(chosen) < budget:
        exact = np.array([outcomes.of(weights) for weights in chosen])
        predicted = fit_surrogate(chosen, exact, objectives=outcomes.names).predict(outcomes.array)
        gains = [
            -1.0 if weights in chosen else hypervolume(np.vstack([exact, new]), outcomes.reference)
            for weights, new in zip(outcomes.grid, predicted, strict=True)
        ]
        chosen.append(outcomes.grid[int(np.argmax(gains))])
    return chosen
