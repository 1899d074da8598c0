import pytest
import torch

from pluralign.core import Decision, PreferencePair, Step, Trajectory
from pluralign.learn.engine import Schedule
from pluralign.learn.options.modules import pair_accuracy
from pluralign.learn.options.scorers import FrozenScorer
from pluralign.learn.options.tables import DecisionIndex, encode_pairs, encode_trajectories, steps_of_pairs

A, B = Decision("a", ("x", "y")), Decision("b", ("x", "y", "z"))


def _trajectory(name, *steps):
    return Trajectory(name, "s", "p", 0, tuple(Step(d, a) for d, a in steps), terminated=True)


LONG = _trajectory("long", (A, 1), (B, 2), (A, 0))
SHORT = _trajectory("short", (B, 1))


def test_trajectories_are_their_steps_in_order():
    index = DecisionIndex()
    table = encode_trajectories([LONG, SHORT], index)
    assert [d.prompt for d in index.decisions] == ["a", "b"]
    assert table.states.tolist() == [0, 1, 0, 1]
    assert table.actions.tolist() == [1, 2, 0, 1]


def test_pairs_are_padded_with_their_own_first_step():
    table = encode_pairs([PreferencePair(LONG.segment(), SHORT.segment(), "o", weight=0.5)], DecisionIndex())
    assert table.states.tolist() == [[[0, 1, 0], [1, 1, 1]]]
    assert table.actions.tolist() == [[[1, 2, 0], [1, 1, 1]]]
    assert table.mask.tolist() == [[[True, True, True], [True, False, False]]]
    assert table.ties == 1


def test_steps_that_pairs_share_count_once():
    pairs = [
        PreferencePair(LONG.segment(0, 2), SHORT.segment(), "o"),
        PreferencePair(LONG.segment(1, 3), SHORT.segment(), "o"),
    ]
    assert [step.action for step in steps_of_pairs(pairs)] == [1, 2, 1, 0]


def test_accuracy_leaves_ties_out_and_halves_equals():
    log_probs = torch.tensor([[0.2, 0.8, 0.0], [0.3, 0.3, 0.4]]).log()
    x, y = _trajectory("1", (A, 1)), _trajectory("2", (A, 0))
    equal = _trajectory("3", (B, 0)), _trajectory("4", (B, 1))

    def accuracy(*pairs):
        index = DecisionIndex()
        index.number(A)
        table = encode_pairs(
            [PreferencePair(c.segment(), r.segment(), "o", weight=w) for c, r, w in pairs], index
        )
        return pair_accuracy(log_probs, table, 1.0)

    assert accuracy((x, y, 1.0)) == 1.0
    assert accuracy((y, x, 1.0), (x, y, 0.5)) == 0.0
    assert accuracy((x, y, 1.0), (*equal, 1.0)) == 0.75
    assert accuracy((x, y, 0.5)) is None


@pytest.mark.parametrize(("examples", "draws"), [(7, 70), (10, 23), (5, 3)])
def test_the_schedule_visits_every_row_once_in_an_epoch(examples, draws):
    schedule = Schedule(examples, draws, 0)
    rows = schedule.__getitems__(list(range(draws)))
    assert len(schedule) == draws
    for start in range(0, draws - examples + 1, examples):
        assert sorted(rows[start : start + examples].tolist()) == list(range(examples))
    assert torch.equal(rows, Schedule(examples, draws, 0).__getitems__(list(range(draws))))
    if draws > examples:
        assert not torch.equal(rows, Schedule(examples, draws, 1).__getitems__(list(range(draws))))


def test_picking_does_not_depend_on_how_many_decisions_a_batch_has():
    class Source:
        dimension, fingerprint = 4, "random"

        def get(self, decisions):
            import numpy as np

            from pluralign.options.features import DecisionFeatures

            rng = np.random.default_rng(0)
            sizes = [len(d.options) for d in decisions]
            return [
                DecisionFeatures(rng.normal(size=(n, 4)).astype("f4"), np.zeros(n), np.ones(n, dtype=int))
                for n in sizes
            ]

    decisions = [Decision(str(i), ("x",) * (1 + i % 3)) for i in range(9)]
    scorer = FrozenScorer(decisions, Source(), 8, 0)
    torch.nn.init.normal_(scorer.head.outer.weight)
    table = scorer.all_log_probs()
    for states in (torch.tensor([2, 5]), torch.arange(9).repeat(3)):
        actions = states % 3
        torch.testing.assert_close(scorer.taken(states, actions), table[states, actions])
    torch.testing.assert_close(table.exp().sum(1), torch.ones(9))
