"""A toy chain with a known optimum, and features that tell every option of it apart."""

import numpy as np

from pluralign.core import Decision, PreferencePair, Step, Trajectory
from pluralign.options.features import DecisionFeatures

STEPS, ROOMS = 6, 3
OPTIONS = tuple(f"Go to room {i}" for i in range(ROOMS))


class Chain:
    """At each of 6 steps one goes from one of 3 rooms to another; rewards lie on the moves."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.decisions = [
            [Decision(f"Step {t}, room {r}", OPTIONS) for r in range(ROOMS)] for t in range(STEPS)
        ]
        self.rewards = rng.random((STEPS, ROOMS, ROOMS))

    def roll(self, rng, name, probabilities=None):
        room, steps = 0, []
        for t in range(STEPS):
            p = None if probabilities is None else probabilities[t, room]
            action = int(rng.choice(ROOMS, p=p))
            reward = {"treasure": float(self.rewards[t, room, action])}
            steps.append(Step(self.decisions[t][room], action, reward))
            room = action
        return Trajectory(name, "chain", "random", 0, tuple(steps), terminated=True)

    def value(self, probabilities):
        """Expected return of a table of probabilities [steps, rooms, rooms]; None for the optimum."""
        values = np.zeros(ROOMS)
        for t in reversed(range(STEPS)):
            q = self.rewards[t] + values[None, :]
            values = q.max(1) if probabilities is None else (probabilities[t] * q).sum(1)
        return values[0]

    def table(self, policy):
        rows = policy.log_probs([decision for row in self.decisions for decision in row])
        return np.exp(np.array(rows)).reshape(STEPS, ROOMS, ROOMS)

    def pairs(self, count, seed, *, error=0.0):
        rng = np.random.default_rng(seed)
        pairs = []
        for i in range(count):
            a, b = self.roll(rng, f"{i}a"), self.roll(rng, f"{i}b")
            better = a.returns()["treasure"] > b.returns()["treasure"]
            if better == (rng.random() < error):
                a, b = b, a
            pairs.append(PreferencePair(a.segment(), b.segment(), "treasure"))
        return pairs


class OneHot:
    """One feature for each (decision, option) of a chain."""

    def __init__(self, chain):
        self._numbers = {d.key: i for i, d in enumerate(d for row in chain.decisions for d in row)}
        self.dimension, self.fingerprint = len(self._numbers) * ROOMS, "one-hot"

    def get(self, decisions):
        entries = []
        for decision in decisions:
            features = np.zeros((ROOMS, self.dimension), dtype=np.float32)
            for i in range(ROOMS):
                features[i, self._numbers[decision.key] * ROOMS + i] = 1
            entries.append(DecisionFeatures(features, np.zeros(ROOMS), np.ones(ROOMS, dtype=np.int64)))
        return entries
