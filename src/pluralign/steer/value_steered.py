"""Steering of agents that know the values of all objectives, by generalised policy improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pluralign.core import Decision, InputError, SteeringWeights
from pluralign.core.arrays import FloatArray
from pluralign.core.checks import checked
from pluralign.options.values import ValuePolicy, for_objective, greedy_log_probs
from pluralign.steer.steered_policy import Blend


class ValueSteeredPolicy:
    """Chooses the option with the best weighted sum of values, each by the agent that would continue best.

    ``pi(a|s) = softmax_a max_i w . Q^i(s, a) / temperature`` over the agents i of positive weight, with Q^i
    the values of all objectives if agent i chooses from then on (generalised policy improvement, Barreto et
    al. 2017, theorem 1: with exact values it is at least as good as every agent). A mixture of probabilities
    does not account for which agent acts from here on; this one does. A model of any weights is given the
    weights.

    Args:
        policies: Agent of each objective, with values of the same objectives.
        weights: Weights by objective; a missing objective has weight zero.
        name: Name in reports; derived from the weights by default.

    Raises:
        InputError: There are no policies, they have values of different objectives, or a weight names an
            objective without a policy.

    Examples:
        >>> import pluralign as pl
        >>> from pluralign.learn.options.q import QConfig
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score", "harm_avoidance"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=2, seed=0, objectives=goals))
        >>> store = pl.Models("tiny-random").store
        >>> config = pl.learn.QConfig(steps=2)
        >>> values = pl.fit_q(played, store=store, out="values", objectives=goals, config=config)
        >>> agents = {"score": values, "harm_avoidance": values}
        >>> pl.ValueSteeredPolicy(agents, pl.SteeringWeights(score=0.3, harm_avoidance=0.7)).name
        'steered(score=0.3,harm_avoidance=0.7)'
    """

    @checked
    def __init__(
        self, policies: Mapping[str, ValuePolicy], weights: SteeringWeights, name: str | None = None
    ) -> None:
        if not policies:
            raise InputError("a steered policy needs at least one policy", field="policies")
        weights.require_known(list(policies))
        known = list(policies.values())
        for objective, policy in policies.items():
            missing = [one for one in policies if one not in policy.objectives]
            if missing:
                raise InputError(
                    f"the agent of {objective!r} has no values of {', '.join(missing)}; learn it with "
                    "--objectives of all agents",
                    field="policies",
                )
        self.policies, self.weights, self._name = dict(policies), weights, name
        self._scales = {one: float(np.mean([p.scale(one) for p in known])) for one in policies}

    @property
    def name(self) -> str:
        """Name in reports."""
        if self._name is not None:
            return self._name
        parts = ",".join(f"{o}={self.weights.get(o, 0.0):g}" for o in self.policies)
        return f"steered({parts})"

    @property
    def scales(self) -> dict[str, float]:
        """Return of each objective that counts as 1 in the weighted sums: the mean of the agents'."""
        return dict(self._scales)

    def with_weights(self, weights: SteeringWeights) -> ValueSteeredPolicy:
        """The same policies under other weights."""
        return ValueSteeredPolicy(self.policies, weights, self._name)

    def totals(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """Weighted sums of values of the options, each by the best agent, one array of shape (options,) per
        decision, in scales."""
        found = [self._of(agent, decisions) for agent in self._agents()]
        return [np.max(rows, axis=0) for rows in zip(*found, strict=True)]

    def log_probs(self, decisions: Sequence[Decision]) -> list[FloatArray]:
        """See `Policy.log_probs`."""
        coldest = min(policy.units.temperature for policy in self.policies.values())
        return [greedy_log_probs(row, coldest) for row in self.totals(decisions)]

    def blend(self, decision: Decision, *, with_unweighted: bool = False) -> Blend:
        """The mixture for one decision, with the probabilities of each agent alone; see
        `SteeredPolicy.blend`."""
        asked = [o for o in self.policies if with_unweighted or self.weights.get(o, 0.0) > 0]
        alone = {o: np.exp(for_objective(self.policies[o], o).log_probs([decision])[0]) for o in asked}
        return Blend(decision, self.weights, alone, np.exp(self.log_probs([decision])[0]))

    def _agents(self) -> list[ValuePolicy]:
        """Agents that may act: models of any weights once, under these weights; others of positive weight."""
        agents: list[ValuePolicy] = []
        for objective, policy in self.policies.items():
            if self.weights.get(objective, 0.0) <= 0:
                continue
            if not policy.conditioned:
                agents.append(policy)
            elif not any(one.head is policy.head for one in agents):
                agents.append(policy.with_weights(self.weights))
        return agents

    def _of(self, agent: ValuePolicy, decisions: Sequence[Decision]) -> list[FloatArray]:
        places = [agent.objectives.index(one) for one in self.policies]
        factors = np.array([self.weights.get(one, 0.0) / self._scales[one] for one in self.policies])
        return [values[:, places] @ factors for values in agent.values(decisions, self.weights)]
