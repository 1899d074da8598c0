"""Critics of progress on a story whose values are known: order, worth, silence, continuing, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pluralign.annotate.progress import Progress
from pluralign.collect.roll_out import roll_out
from pluralign.core import InputError, UniformPolicy
from pluralign.core.files import read_json
from pluralign.evaluate.progress import evaluate_progress
from pluralign.games.exact_front import exact_returns, exact_values
from pluralign.games.open import open_story
from pluralign.games.state_graph import explore

STORY = open_story("salt_ledger")
SCORE = STORY.info.objective("score")


@pytest.fixture(scope="module")
def graph():
    return explore(STORY.make_game())


@pytest.fixture(scope="module")
def played():
    return list(roll_out(STORY.make_game, UniformPolicy(), episodes=4, seed=0, objectives=[SCORE]))


class Critic:
    """Values by the passages of a play."""

    name, settings = "critic", {}

    def __init__(self, values):
        self.values, self.calls, self.examples = values, 0, ()

    def progress(self, passages, objective, *, examples=(), seed=0):
        assert objective is SCORE
        self.calls, self.examples = self.calls + 1, examples
        return Progress(np.array(self.values(tuple(passages)), dtype=float), {"pairs": 3, "same_place": 1})


def _known(graph, played, passages):
    """Exact values of an episode's first decisions, by its passages."""
    values = exact_values(graph, UniformPolicy(), [SCORE])[:, 0]
    found = {}
    for one in played:
        state, worths = graph.start, []
        gained = 0.0
        for step in one.steps:
            worths.append(gained + values[state])
            gained += step.rewards["score"]
            state = graph.target[graph.first[state] + step.action]
        places = sorted({round(p) for p in np.linspace(0, len(one.steps) - 1, passages).tolist()})
        found[tuple(one.steps[p].decision.prompt for p in places)] = [worths[p] for p in places]
    return found


def test_values_of_the_start_are_the_exact_returns(graph):
    objectives = STORY.info.select(["score", "harm_avoidance"])
    returns = exact_returns(graph, UniformPolicy(), objectives).objectives
    assert exact_values(graph, UniformPolicy(), objectives)[graph.start] == pytest.approx(
        [returns["score"], returns["harm_avoidance"]]
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_critic_that_knows_the_worth(graph, played, tmp_path, sign):
    known = _known(graph, played, 6)
    critic = Critic(lambda passages: sign * np.array(known[passages]))
    found = evaluate_progress(played, critic, SCORE, tmp_path, graph=graph, policy=UniformPolicy())
    assert found.worth.mean == pytest.approx(sign)
    # Place in a story and worth are not the same.
    assert abs(found.order_and_worth.mean) < 1
    assert found.order.mean == pytest.approx(sign * found.order_and_worth.mean)
    assert found.counts == {"pairs": 12, "same_place": 4}
    assert found.notes == ["The same place was named in both orders for 4 of 12 pairs."]
    assert read_json(tmp_path / "report.json")["worth"]["mean"] == found.worth.mean


def test_critics_that_know_the_place_or_nothing(played, tmp_path):
    placed = evaluate_progress(played, Critic(lambda passages: range(len(passages))), SCORE, tmp_path / "a")
    assert (placed.order.mean, placed.worth) == (1, None)
    constant = evaluate_progress(played, Critic(lambda passages: [7] * len(passages)), SCORE, tmp_path / "b")
    assert constant.order.mean == 0
    assert "it says nothing" in constant.notes[-1]
    silent = evaluate_progress(
        played, Critic(lambda passages: [np.nan] * len(passages)), SCORE, tmp_path / "c"
    )
    assert (silent.order, silent.silent) == (None, 4)
    assert "No usable reply for 4 of 4 episodes." in silent.notes
    row = json.loads((tmp_path / "c" / "progress.jsonl").read_text().splitlines()[1])
    assert row["values"][0] is None


def test_it_continues_and_shows_examples(played, tmp_path):
    critic = Critic(lambda passages: range(len(passages)))
    evaluate_progress(played, critic, SCORE, tmp_path, examples=1, passages=4)
    assert critic.calls == 3
    assert len(critic.examples) == 4
    assert [share for _, share in critic.examples] == sorted(share for _, share in critic.examples)
    assert critic.examples[0][1] == 0
    evaluate_progress(played, critic, SCORE, tmp_path, examples=1, passages=4)
    assert critic.calls == 3
    # A model that was trained further under the same name.
    critic.identity = {"fingerprint": "0af1"}
    evaluate_progress(played, critic, SCORE, tmp_path, examples=1, passages=4)
    assert critic.calls == 6


def test_what_cannot_be_compared_is_refused(graph, played, tmp_path):
    critic = Critic(lambda passages: range(len(passages)))
    with pytest.raises(InputError, match="a graph and a policy"):
        evaluate_progress(played, critic, SCORE, tmp_path, graph=graph)
    with pytest.raises(InputError, match="expected more than 4 episodes"):
        evaluate_progress(played, critic, SCORE, tmp_path, examples=4)
    with pytest.raises(InputError, match="'passages': must be at least 3"):
        evaluate_progress(played, critic, SCORE, tmp_path, passages=2)
    short = [replace(one, steps=one.steps[:2]) for one in played]
    with pytest.raises(InputError, match="episodes of three steps or more, found 0"):
        evaluate_progress(short, critic, SCORE, tmp_path)
    assert critic.calls == 0
    other = replace(played[0], steps=played[0].steps[1:])
    with pytest.raises(InputError, match="leaves the story at step 1"):
        evaluate_progress([other, played[1]], critic, SCORE, tmp_path, graph=graph, policy=UniformPolicy())


def test_the_command(tmp_path, capsys):
    from pluralign.cli.evaluate_progress import evaluate_progress as command
    from pluralign.collect.chooser import PolicyChooser
    from pluralign.collect.collector import collect

    collect(
        STORY.make_game, PolicyChooser(UniformPolicy()), tmp_path / "t.jsonl", episodes=3, seed=0,
        objectives=[SCORE], progress=False,
    )  # fmt: skip
    figures = command(tmp_path / "t.jsonl", "tiny-random", tmp_path / "p", passages=3, episodes=2)
    assert figures["episodes"] == 2
    assert figures["counts"]["pairs"] == 6
    said = capsys.readouterr().out
    assert "values and worth" in said
    assert "order:tiny-random on salt_ledger, score: 2 episodes" in said
