"""A game from a table, and values from a table, for searches."""

from __future__ import annotations

import numpy as np

from pluralign.core import Decision, Objective, SteeringWeights
from pluralign.games.game import GameInfo

GAIN = Objective("gain", "Much is gained.", {"points": 1.0})
ONLY = SteeringWeights(gain=1.0)


class TableGame:
    """A game from a table: state -> (points, next state) of each option; other states are ends."""

    def __init__(self, table, start="s", *, random=False):
        self.table, self.start, self.calls = table, start, 0
        self.info = GameInfo("table", "", "", "", "", 10.0, 4, (GAIN,), random=random)
        self.reset()

    def reset(self, seed=0):
        self.state = self.start

    @property
    def decision(self):
        row = self.table.get(self.state)
        return (
            None if row is None else Decision(f"at {self.state}", tuple(f"to {i}" for i in range(len(row))))
        )

    @property
    def text(self):
        return f"This is {self.state}."

    def choose(self, action):
        self.calls += 1
        points, self.state = self.table[self.state][action]
        return {"points": points} if points else {}

    def save(self):
        return self.state

    def restore(self, state):
        self.state = state


class Fixed:
    """Values from a table, of states that are not in it 0."""

    digest, scales = "fixed", {"gain": 1.0}

    def __init__(self, table=None):
        self.table = table or {}

    def rests(self, decision, state, weights):
        return np.array(self.table.get(state, [0.0] * len(decision.options)), dtype=float)


class Noisy:
    """Other values with independent noise, the same whenever a state is asked for."""

    def __init__(self, values, size, seed=0):
        self.values, self.size, self.seed = values, size, seed
        self.scales, self.digest = values.scales, "noisy"
        self.numbers: dict = {}

    def rests(self, decision, state, weights):
        number = self.numbers.setdefault(state, len(self.numbers))
        rng = np.random.default_rng([self.seed, number])
        return self.values.rests(decision, state, weights) + self.size * rng.normal(
            size=len(decision.options)
        )
