"""A rater's opinion of options as an intrinsic reward: asked once, kept in a file, continued."""

from collections import Counter

import numpy as np
import pytest
from collect_fakes import SCORE, OneHotFeatures, TowerGame

from pluralign.annotate.rater import Rating
from pluralign.collect.drrn_training import train_drrn
from pluralign.collect.intrinsic import Intrinsic
from pluralign.collect.open import open_chooser
from pluralign.core import Decision, InputError
from pluralign.games.labelled.labels import read_labels
from pluralign.games.open import open_story
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.options.drrn import DRRNConfig
from pluralign.workflows.intrinsic import IntrinsicOptions, JudgedOptions

SHORT = DRRNConfig(steps=640, warm_up=200, updates=1)


class ByLength:
    """Prefers the longer option, says nothing of doors, and may be switched off."""

    name, batch = "by-length", 4

    def __init__(self):
        self.asked, self.left = Counter(), 10**6

    @property
    def settings(self):
        return {"prefers": "long"}

    def rate(self, comparisons, objective):
        self.left -= len(comparisons)
        if self.left < 0:
            raise KeyboardInterrupt
        self.asked.update(one.id for one in comparisons)
        return [
            None if "door" in one.first.steps[0].decision.prompt else self._better(one) for one in comparisons
        ]

    def _better(self, comparison):
        first, second = (
            len(one.steps[0].decision.options[one.steps[0].action])
            for one in (comparison.first, comparison.second)
        )
        return Rating("tie" if first == second else "first" if first > second else "second")


def test_values_are_the_shares_of_options_that_each_beats(tmp_path):
    judged = JudgedOptions(ByLength(), SCORE, tmp_path / "labels.jsonl")
    three, one, door = (
        Decision("x", ("aa", "aaaa", "bb")),
        Decision("y", ("a",)),
        Decision("A door", ("a", "b")),
    )
    values = judged([three, one, door])
    assert values[0].tolist() == [-0.5, 1.0, -0.5]
    assert values[1].tolist() == [0.0]
    assert values[2] is None
    assert judged.name == "by-length on score"
    assert read_labels(tmp_path / "labels.jsonl").values[three.key] == {0: -0.5, 1: 1.0, 2: -0.5}
    assert JudgedOptions(ByLength(), SCORE, tmp_path / "none.jsonl")([one, door])[1] is None
    other = ByLength()
    other.name = "another"
    with pytest.raises(InputError, match="rater"):
        JudgedOptions(other, SCORE, tmp_path / "labels.jsonl")([three])


def test_a_run_reads_its_file_of_answers_once(tmp_path, monkeypatch):
    out = tmp_path / "labels.jsonl"
    pages = [Decision(f"page {number}", ("a", "bb")) for number in range(3)]
    JudgedOptions(ByLength(), SCORE, out)(pages[:1])
    rater = ByLength()
    judged = JudgedOptions(rater, SCORE, out)
    assert [own.tolist() for own in judged(pages[:2])] == [[-1.0, 1.0]] * 2

    def read(*args, **kwargs):
        raise AssertionError("the file was read again")

    monkeypatch.setattr("pluralign.core.records.read_rows", read)
    assert [own.tolist() for own in judged(pages)] == [[-1.0, 1.0]] * 3
    assert len(rater.asked) == 2


def test_an_interrupted_run_asks_nothing_twice_and_takes_the_same_steps(tmp_path):
    def train(out, rater):
        judged = JudgedOptions(rater, SCORE, out)
        intrinsic = Intrinsic(judged, weight=0.3, every=5, name=judged.name)
        return train_drrn(
            TowerGame, OneHotFeatures(), config=SHORT, seed=1, reward=SCORE.reward, intrinsic=intrinsic
        )

    rater, out = ByLength(), tmp_path / "whole.jsonl"
    whole = train(out, rater)
    assert set(rater.asked.values()) == {1}
    assert whole.card.config["intrinsic"]["name"] == "by-length on score"
    assert whole.card.figures["intrinsic"]["unjudged"] > 0
    stopped, again = ByLength(), tmp_path / "again.jsonl"
    for left in (20, 30, 10**6):
        stopped.left = left
        try:
            found = train(again, stopped)
        except KeyboardInterrupt:
            continue
    # Only what the rater left unanswered is asked again.
    doors = {name for name, count in stopped.asked.items() if count > 1}
    answered = {one for one in stopped.asked if one not in doors}
    assert len(answered) > 30
    assert again.read_bytes() == out.read_bytes()
    assert found.card.figures["curve"] == whole.card.figures["curve"]
    decision = Decision("Floor 1, with nothing, rested 0 times.", ("Climb.", "Steal $5 and climb.", "Rest."))
    np.testing.assert_array_equal(found.q_values([decision])[0], whole.q_values([decision])[0])


def test_the_verb_s_options_open_a_rater_or_are_refused(tmp_path):
    game = open_story("salt_ledger")
    assert IntrinsicOptions().open(game, tmp_path / "t.jsonl", EndpointSettings()) is None
    options = IntrinsicOptions("judge:tiny-random", "harm_avoidance", 0.2, 0, 8, decide="mean")
    found = options.open(game, tmp_path / "t.jsonl", EndpointSettings())
    assert (found.weight, found.beta, found.every, found.name) == (
        0.2, 0, 8, "judge:tiny-random on harm_avoidance"
    )  # fmt: skip
    (first,) = found.values([Decision("A fork.", ("Left", "Right"))])
    assert first.tolist() in ([1.0, -1.0], [-1.0, 1.0])
    assert (tmp_path / "t.labels.jsonl").exists()
    for wrong, message in (
        (IntrinsicOptions(weight=0.3), "intrinsic.rater"),
        (IntrinsicOptions("oracle"), "unknown rater"),
        (IntrinsicOptions("judge:tiny-random", "brief"), "brief"),
    ):
        with pytest.raises(InputError, match=message):
            wrong.open(game, tmp_path / "t.jsonl", EndpointSettings())
    with pytest.raises(InputError, match="'intrinsic': is for the policy drrn"):
        open_chooser("random", game.make_game, intrinsic=found)
