"""The orders in which a search tries options: four rules for where the next call is worth most."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from pluralign.core.arrays import FloatArray
from pluralign.core.checks import require_at_least
from pluralign.steer.search.tree import Node, SearchTree

Order = Callable[[SearchTree], Node | None]
"""Function that names the state whose most promising option is tried next; None ends the search."""


class Beam:
    """Passes over the layers of a game: the ``width`` best states of each layer try all options.

    The first pass has width 1. Each further one begins again at the start, at least one wider, and as wide as
    the rest of the budget affords if each state per layer costs what the first pass did. What earlier passes
    tried is known and costs nothing.

    Args:
        width: Width of a single pass, after which the search ends; None for passes as described.

    Raises:
        InputError: The width is below 1.
    """

    def __init__(self, width: int | None = None) -> None:
        if width is not None:
            require_at_least(1, width=width)
        self._fixed, self._width = width, width or 1
        self._layer: list[Node] | None = None
        self._cost = 0

    def __call__(self, tree: SearchTree) -> Node | None:
        """See `Order`."""
        layer = [tree.root] if self._layer is None else self._layer
        while layer or self._widen(tree):
            layer = layer or [tree.root]
            for node in layer:
                if node.waiting:
                    self._layer = layer
                    return node
            children = {id(child): child for node in layer for child in node.following}
            layer = sorted(children.values(), key=lambda node: -node.estimate)[: self._width]
        return None

    def _widen(self, tree: SearchTree) -> bool:
        if self._fixed is not None or not tree.open:
            return False
        self._cost = self._cost or tree.calls
        affordable = min(tree.budget - tree.calls, sys.maxsize // 2) // self._cost
        self._width = max(self._width + 1, int(affordable))
        return True


def best_first(tree: SearchTree) -> Node | None:
    """The state with the most promising untried option, at any depth."""
    return tree.most_promising()


class Bavt:
    """Draws a state in proportion to its value to the power of 1/r, r the share of the budget that is left.

    Budget-aware value tree search (arXiv 2603.12634; read in a reader's notes): broad at r = 1, greedy as
    r goes to 0. The paper's critic and its pruning of steps without progress are not part of it; values come
    from `SearchTree.unit`, on a scale from 0 to 1.

    Args:
        rng: Random numbers.
        exponent: Function from r to the exponent.
    """

    def __init__(
        self, rng: np.random.Generator, exponent: Callable[[float], float] = lambda r: 1 / r
    ) -> None:
        self._rng, self._exponent = rng, exponent

    def __call__(self, tree: SearchTree) -> Node | None:
        """See `Order`."""
        nodes = list(tree.open.values())
        if not nodes:
            return None
        values = [tree.unit(node.promise) for node in nodes]
        chances = in_proportion(values, self._exponent(max(tree.left, sys.float_info.epsilon)))
        return nodes[int(self._rng.choice(len(nodes), p=chances))]


def in_proportion(values: Sequence[float], exponent: float) -> FloatArray:
    """Probabilities in proportion to ``value ** exponent``, shape (values,).

    Args:
        values: Values above 0.
        exponent: Exponent.
    """
    logs = exponent * np.log(np.asarray(values, dtype=np.float64))
    chances: FloatArray = np.exp(logs - logs.max())
    return chances / chances.sum()


class Ved:
    """Descends from the start by value and visits, to a state that is worth trying.

    Value-guided expansion (V-STAR, arXiv 2602.10699; read in a reader's notes and its trainer's defaults):
    ``G(s) = V(s) + 0.1 H(pi(.|s))``, and on the way down the child with the largest
    ``G(s) + beta sqrt(ln(N_root + 1) / (N(s) + 1))``, N the number of descents through a state. A state is
    worth trying if its G is at least the mean of its depth, or if no state is. V is the estimated sum of the
    best play through s (`SearchTree.unit`), pi the softmax of the options' values. V-STAR's first beam of 8
    is left out: here it alone would take most budgets.

    Args:
        curiosity: Factor of the entropy in nats.
        beta: Factor of the bonus of rarely visited states.
        temperature: Temperature of the softmax, in scales; the default is `learn q`'s.
    """

    def __init__(self, curiosity: float = 0.1, beta: float = 1.0, temperature: float = 0.01) -> None:
        self._curiosity, self._beta, self._temperature = curiosity, beta, temperature
        self._visits: Counter[int] = Counter()
        self._entropies: dict[int, float] = {}

    def __call__(self, tree: SearchTree) -> Node | None:
        """See `Order`."""
        worth = {id(node): self._worth(tree, node) for node in tree.nodes.values()}
        depths: defaultdict[int, list[float]] = defaultdict(list)
        for node in tree.nodes.values():
            depths[node.depth].append(worth[id(node)])
        means = {depth: math.fsum(own) / len(own) for depth, own in depths.items()}
        every = list(tree.open.values())
        chosen = [node for node in every if worth[id(node)] >= means[node.depth]] or every
        if not chosen:
            return None
        goals = {id(node) for node in chosen}
        children = _ways(chosen)
        node = tree.root
        while True:
            self._visits[id(node)] += 1
            if id(node) in goals:
                return node
            bonus = math.log(self._visits[id(tree.root)] + 1)
            node = max(
                children[id(node)],
                key=lambda one: worth[id(one)] + self._beta * math.sqrt(bonus / (self._visits[id(one)] + 1)),
            )

    def _worth(self, tree: SearchTree, node: Node) -> float:
        if id(node) not in self._entropies:
            logits = node.rests / self._temperature
            logs = logits - np.logaddexp.reduce(logits)
            self._entropies[id(node)] = -float(np.exp(logs) @ logs)
        return tree.unit(node.estimate) + self._curiosity * self._entropies[id(node)]


def _ways(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """States on the best known ways from the start to some states, by the state before them."""
    ways: dict[int, dict[int, Node]] = {}
    for node in nodes:
        while node.before is not None:
            before = node.before[0]
            own = ways.setdefault(id(before), {})
            if id(node) in own:
                break
            own[id(node)], node = node, before
    return {number: list(own.values()) for number, own in ways.items()}


ORDERS: dict[str, Callable[[np.random.Generator], Order]] = {
    "beam": lambda rng: Beam(),
    "best-first": lambda rng: best_first,
    "bavt": Bavt,
    "ved": lambda rng: Ved(),
}
"""Orders by name, from random numbers."""
RANDOM = ("bavt", "parallel")
"""Methods whose plays depend on the seed."""
