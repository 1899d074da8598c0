"""Targets of offline Q-learning, against backward induction and against each other."""

import itertools

import numpy as np
import pytest
import torch

from pluralign.games.harms import HARM_AVOIDANCE, SCORE
from pluralign.games.open import open_story
from pluralign.games.state_graph import END, explore
from pluralign.losses.offline_q import (
    best_value,
    conservative_penalty,
    expectile_value,
    language_model_values,
    least_values,
    steps_ahead,
    taken_value,
)

_ONE = torch.ones(1, 1, dtype=torch.float64)


def _random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class _Edges:
    """Every edge of a story's states once, as a table of decisions, or of the states themselves."""

    def __init__(self, story, row_of):
        self.graph = graph = explore(open_story(story).make_game())
        rows = np.array(row_of(graph))
        owner = np.repeat(np.arange(len(graph.states)), np.diff(graph.first))
        self.decision = torch.tensor(rows[owner])
        self.action = torch.tensor(np.arange(len(owner)) - graph.first[owner])
        self.ends = torch.tensor(graph.target == END)
        self.next = torch.tensor(np.where(graph.target == END, 0, rows[graph.target]))
        self.rewards = torch.tensor(graph.rewards([SCORE, HARM_AVOIDANCE]))
        self.start = int(rows[graph.start])
        options = max(len(decision.options) for decision in graph.decisions)
        self.held = torch.zeros(int(rows.max()) + 1, options, dtype=torch.bool)
        self.held[self.decision, self.action] = True

    def solve(self, value):
        """Values of all options when targets continue from ``value(values, held)`` of the next decision."""
        values = torch.zeros(*self.held.shape, 2, dtype=torch.float64)
        places = self.decision * self.held.shape[1] + self.action
        count = torch.zeros(self.held.numel(), dtype=torch.float64).index_add(
            0, places, torch.ones(len(places), dtype=torch.float64)
        )
        while True:
            follow = torch.where(self.ends[:, None], 0.0, value(values, self.held)[self.next])
            total = torch.zeros(self.held.numel(), 2, dtype=torch.float64)
            total.index_add_(0, places, self.rewards + follow)
            found = (total / count.clamp_min(1)[:, None]).view_as(values)
            if torch.equal(found, values):
                return values
            values = found


@pytest.fixture(scope="module", params=["salt_ledger", "ninth_watch"])
def edges(request):
    return request.param, _Edges(request.param, lambda graph: graph.decision_of)


@pytest.mark.parametrize("objective", [0, 1])
def test_every_edge_once_gives_backward_induction(edges, objective):
    name, ledger = edges
    best = {"salt_ledger": (640.0, 0.0), "ninth_watch": (505.0, 0.0)}[name][objective]
    weights = torch.eye(2, dtype=torch.float64)[objective].expand(len(ledger.held), -1)
    values = ledger.solve(lambda q, held: best_value(q, weights, held))
    start = values[ledger.start, :, objective][ledger.held[ledger.start]].max()
    assert float(start) == pytest.approx(best, abs=1e-9)
    exact = np.zeros(len(ledger.graph.states))
    for state in ledger.graph.backwards.tolist():
        if state != END:
            edges = slice(ledger.graph.first[state], ledger.graph.first[state + 1])
            exact[state] = (
                ledger.rewards[edges, objective].numpy() + exact[ledger.graph.target[edges]]
            ).max()
    own = values[..., objective].masked_fill(~ledger.held, -torch.inf).amax(dim=1).numpy()
    # States of these stories that share a decision have the same value.
    np.testing.assert_allclose(own[ledger.graph.decision_of[1:]], exact[1:], atol=1e-9)


def test_one_step_over_a_reference_is_an_improvement():
    states = _Edges("salt_ledger", lambda graph: np.arange(-1, len(graph.states) - 1))
    torch.manual_seed(0)
    for _ in range(3):
        reference = torch.rand(states.held.shape).masked_fill(~states.held, -1).argmax(dim=1)
        values = states.solve(lambda q, held, own=reference: taken_value(q, own))
        better = values[..., 0].masked_fill(~states.held, -torch.inf).argmax(dim=1)
        improved = states.solve(lambda q, held, own=better: taken_value(q, own))
        before = taken_value(values, reference)[:, 0]
        assert bool((taken_value(improved, better)[:, 0] >= before - 1e-9).all())
        # The reward is what is left of a value without what follows.
        follow = torch.where(states.ends[:, None], 0.0, taken_value(values, reference)[states.next])
        again = values[states.decision, states.action] - follow
        torch.testing.assert_close(again, states.rewards, rtol=0, atol=1e-9)


def test_expectiles_go_from_the_mean_to_the_largest_value():
    values, shares = _random(50, 4, 1), torch.rand(50, 4, dtype=torch.float64)
    shares[:, 3] = 0
    shares = shares / shares.sum(dim=1, keepdim=True)
    one = _ONE.expand(50, 1)
    mean = (values[..., 0] * shares).sum(dim=1, keepdim=True)
    torch.testing.assert_close(expectile_value(values, one, shares, 0.5), mean)
    largest = best_value(values, one, shares > 0)
    assert float((expectile_value(values, one, shares, 0.9999) - largest).abs().max()) < 0.01
    levels = [expectile_value(values, one, shares, tau) for tau in (0.1, 0.3, 0.5, 0.7, 0.9, 0.99)]
    assert all(bool((b >= a - 1e-12).all()) for a, b in itertools.pairwise(levels))
    # The condition that defines it.
    level = expectile_value(values, one, shares, 0.8)
    gaps = values[..., 0] - level
    slope = (shares * torch.where(gaps < 0, 0.2, 0.8) * gaps).sum(dim=1)
    assert float(slope.abs().max()) < 1e-12


def test_one_hot_weights_are_the_learner_of_one_objective():
    values = _random(30, 3, 2)
    held = torch.ones(30, 3, dtype=torch.bool)
    shares = torch.full((30, 3), 1 / 3, dtype=torch.float64)
    for k in range(2):
        own = torch.eye(2, dtype=torch.float64)[k].expand(30, -1)
        alone, one = values[..., k : k + 1], _ONE.expand(30, 1)
        for vector, scalar in (
            (best_value(values, own, held), best_value(alone, one, held)),
            (expectile_value(values, own, shares, 0.8), expectile_value(alone, one, shares, 0.8)),
        ):
            torch.testing.assert_close(vector[:, k : k + 1], scalar)
    weights, swapped = (
        torch.tensor([row], dtype=torch.float64).expand(30, -1) for row in ([0.3, 0.7], [0.7, 0.3])
    )
    torch.testing.assert_close(
        best_value(values, weights, held), best_value(values.flip(-1), swapped, held).flip(-1)
    )


def test_padding_is_inert():
    values = torch.cat([_random(9, 2, 2), torch.full((9, 1, 2), 1e6, dtype=torch.float64)], dim=1)
    weights = torch.full((9, 2), 0.5, dtype=torch.float64)
    held = torch.tensor([True, True, False]).expand(9, -1)
    taken = torch.zeros(9, dtype=torch.int64)
    assert torch.equal(best_value(values, weights, held), best_value(values[:, :2], weights, held[:, :2]))
    assert torch.equal(
        conservative_penalty(values, weights, held, taken),
        conservative_penalty(values[:, :2], weights, held[:, :2], taken),
    )
    shares = held.double() / 2
    torch.testing.assert_close(
        expectile_value(values, weights, shares, 0.7),
        expectile_value(values[:, :2], weights, shares[:, :2], 0.7),
    )


def test_a_further_head_never_raises_a_value():
    values, weights = _random(4, 20, 3, 2), torch.rand(20, 2, dtype=torch.float64)
    assert torch.equal(least_values(values[:1], weights), values[0])
    totals = [torch.einsum("bak,bk->ba", least_values(values[:n], weights), weights) for n in range(1, 5)]
    assert all(bool((b <= a).all()) for a, b in itertools.pairwise(totals))


def test_the_penalty_s_gradient_is_softmax_minus_one_hot():
    values = _random(6, 3, 1).requires_grad_()
    held = torch.ones(6, 3, dtype=torch.bool)
    actions = torch.tensor([0, 1, 2, 0, 1, 2])
    conservative_penalty(values, _ONE.expand(6, 1), held, actions).sum().backward()
    expected = values.detach()[..., 0].softmax(dim=1) - torch.nn.functional.one_hot(actions, 3)
    torch.testing.assert_close(values.grad[..., 0], expected)


def test_many_steps_are_returns_to_go():
    rewards = _random(9, 2)
    lengths, ended = torch.tensor([4, 2, 3]), torch.tensor([True, True, True])
    sums, _, factors, known = steps_ahead(rewards, lengths, ended, 100)
    assert not factors.any()
    assert known.all()
    for start, stop in ((0, 4), (4, 6), (6, 9)):
        for t in range(start, stop):
            total = torch.zeros(2, dtype=torch.float64)
            for later in range(t, stop):
                total = total + rewards[later]
            assert torch.equal(sums[t], total)


def test_steps_ahead_of_a_truncated_episode_end_at_its_last_decision():
    rewards = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    sums, follow, factors, known = steps_ahead(
        rewards, torch.tensor([3, 1]), torch.tensor([False, False]), 2, gamma=0.5
    )
    assert known.tolist() == [True, True, False, False]
    assert sums[:2, 0].tolist() == [2.0, 2.0]
    assert follow[:2].tolist() == [2, 2]
    assert factors.tolist()[:2] == [0.25, 0.5]
    sums, follow, factors, known = steps_ahead(rewards, torch.tensor([3, 1]), torch.tensor([True, False]), 1)
    assert known.tolist() == [True, True, True, False]
    assert (sums[:3, 0].tolist(), follow[:2].tolist()) == ([1.0, 2.0, 4.0], [1, 2])
    assert factors[:3].tolist() == [1.0, 1.0, 0.0]


def test_a_language_model_s_values_choose_like_it():
    logits, state_value = _random(5, 4), _random(5, seed=1)
    values = language_model_values(logits, state_value, alpha=0.3)
    torch.testing.assert_close((values / 0.3).softmax(-1), logits.softmax(-1), rtol=0, atol=1e-12)
    torch.testing.assert_close(values.amax(-1), state_value)
