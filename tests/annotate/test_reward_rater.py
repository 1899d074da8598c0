"""Rewards as raters of texts, options and segments, with their uncertainty and provenance."""

import json

import numpy as np
import pytest

import pluralign as pl
from pluralign.annotate.annotator import ComparisonSettings, annotate
from pluralign.annotate.both_orders import BothOrders
from pluralign.annotate.open import open_rater
from pluralign.annotate.rater import Rating
from pluralign.annotate.reward_rater import RewardRater
from pluralign.cli import main
from pluralign.core import (
    Comparison,
    Decision,
    InputError,
    Objective,
    OptionRewards,
    Segment,
    Step,
    Trajectory,
)
from pluralign.core.messages import Template
from pluralign.core.records import read_annotations, write_records

KIND = Objective("kindness", "Be kind.")
DOOR = Decision("A door.", ("Open it now.", "Leave.", "Knock."))
HALL = Decision("A hall.", ("Run.", "Walk slowly."))


class ByLength:
    """The reward of a completion is its length plus that of its prompt; sigma is given."""

    name = "length"
    template = Template("custom", render=lambda messages, opens: "")

    def __init__(self, sigma=0.0):
        self.sigma, self.asked = sigma, []

    def score_decisions(self, decisions):
        found = []
        for decision in decisions:
            self.asked += [(decision.prompt, option) for option in decision.options]
            mean = np.array([10.0 * len(decision.prompt) + len(option) for option in decision.options])
            found.append(OptionRewards(mean, np.full(len(mean), self.sigma)))
        return found


def segment(name, *taken):
    return Segment(name, 0, tuple(Step(decision, action) for decision, action in taken))


def test_the_higher_reward_is_better_and_a_text_is_scored_once():
    scorer = ByLength()
    rater = RewardRater(scorer)
    a, b, c = (segment(f"t{i}", (DOOR, i)) for i in range(3))
    ratings = rater.rate([Comparison(a, b), Comparison(b, a), Comparison(b, c), Comparison(c, a)], KIND)
    assert [r.preference for r in ratings] == ["first", "second", "tie", "second"]
    assert ratings[0].info == {"rewards": [82.0, 76.0]}
    rater.rate([Comparison(a, c)], KIND)
    assert sorted(scorer.asked) == sorted(("A door.", option) for option in DOOR.options)


def test_a_difference_within_its_sigma_is_a_tie():
    a, b = segment("a", (DOOR, 0)), segment("b", (DOOR, 1))
    # The difference is 6; its sigma is the square root of two times 4 and 5.
    [sure] = RewardRater(ByLength(4.0), tie_sigmas=1.0).rate([Comparison(a, b)], KIND)
    [unsure] = RewardRater(ByLength(5.0), tie_sigmas=1.0).rate([Comparison(a, b)], KIND)
    [exact] = RewardRater(ByLength(5.0)).rate([Comparison(a, b)], KIND)
    assert (sure.preference, unsure.preference, exact.preference) == ("first", "tie", "first")
    assert unsure.info == {"rewards": [82.0, 76.0], "sigmas": [5.0, 5.0]}
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="tie_sigmas"):
            RewardRater(ByLength(), tie_sigmas=wrong)


def test_segments_of_several_steps_are_compared_by_what_was_chosen_and_not_by_their_length():
    short, long = segment("s", (DOOR, 0)), segment("l", (DOOR, 1), (HALL, 1))
    [rating] = RewardRater(ByLength(1.0), tie_sigmas=1.0).rate([Comparison(short, long)], KIND)
    # Open it now: 12 - mean(12, 6, 6) = 4; leave and walk slowly: 6 - 8 + 12 - mean(4, 12) = 2.
    assert rating.info["rewards"] == pytest.approx([4.0, 2.0])
    assert rating.info["sigmas"] == pytest.approx([1.0, 2**0.5])
    assert rating.preference == "first"


def test_options_are_put_into_other_words():
    def in_first_person(prompt, option):
        return "", f"I {option[0].lower()}{option[1:]}"

    scorer = ByLength()
    rater = RewardRater(scorer, words=in_first_person)
    rater.rate([Comparison(segment("a", (DOOR, 0)), segment("b", (DOOR, 2)))], KIND)
    assert scorer.asked == [("", "I open it now."), ("", "I knock.")]
    assert rater.settings == {"reads": "reward", "words": "in_first_person"}


class FirstIsBetter:
    """A rater that likes the first place, unless one side has the better option."""

    name, settings, batch = "place", {}, 4

    def rate(self, comparisons, objective):
        return [
            None
            if c.first.steps[0].action == 2 and c.second.steps[0].action == 2
            else Rating("second" if c.second.steps[0].action == 0 else "first", {"note": 1})
            for c in comparisons
        ]


def test_both_orders():
    a, b, c = (segment(f"t{i}", (DOOR, i)) for i in range(3))
    rater = BothOrders(FirstIsBetter())
    pairs = [Comparison(a, b), Comparison(b, a), Comparison(b, c), Comparison(c, c)]
    ratings = rater.rate(pairs, KIND)
    assert [r and r.preference for r in ratings] == ["first", "second", "tie", None]
    assert ratings[2].info == {"note": 1, "answers": ["first", "second"]}
    assert (rater.name, rater.batch, rater.settings) == ("place", 4, {"orders": "both"})


def command(*words):
    """Exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


@pytest.fixture
def reward(tmp_path):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(6)]
    pl.fit_reward(pl.load_pairs(rows, "agreement"), model="tiny-random", out=tmp_path / "reward")
    return tmp_path / "reward"


@pytest.fixture
def file(tmp_path):
    trajectories = [
        Trajectory(f"t{i}", "door", "random", i, (Step(DOOR, i % 3, {"score": 1.0}),), terminated=True)
        for i in range(6)
    ]
    header = {"objectives": [{"name": "score", "description": "More points.", "coefficients": {}}]}
    write_records(tmp_path / "t.jsonl", "trajectories", trajectories, header)
    return tmp_path / "t.jsonl"


def test_annotations_have_the_card_of_the_reward(reward, file, tmp_path):
    out = tmp_path / "a.jsonl"
    rater = open_rater(f"reward:{reward}")
    annotate(file, out, "score", rater, settings=ComparisonSettings(of="options"), progress=False)
    assert len(read_annotations(out)) == 3
    settings = json.loads(out.read_text().splitlines()[0])["settings"]
    assert settings["tie_sigmas"] == 1.0
    card = settings["card"]
    assert (card["name"], card["method"], card["objective"]) == ("agreement", "bradley-terry", "agreement")
    assert card["backbone"]["name"] == "tiny-random"
    assert len(card["digest"]) == 32


def test_an_ensemble_has_the_cards_of_its_members(reward, file, tmp_path, monkeypatch):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(6)]
    pl.fit_reward(pl.load_pairs(rows, "agreement"), model="tiny-random", out=tmp_path / "other", seed=1)
    data = tmp_path / "said.jsonl"
    said = [{"prompt": r["prompt"], "completion": r[side]} for r in rows for side in ("chosen", "rejected")]
    data.write_text("".join(json.dumps(row) + "\n" for row in said))
    monkeypatch.chdir(tmp_path)
    together = ["learn", "ensemble", "--members", "reward", "other", "--data", "said.jsonl", "--out", "both"]
    assert command(*together) == 0
    rater = open_rater("reward:both")
    members = rater.settings["card"]["members"]
    assert [member["seed"] for member in members] == [0, 1]
    assert len({member["digest"] for member in members}) == 2
    [rating] = rater.rate([Comparison(segment("a", (DOOR, 0)), segment("b", (DOOR, 1)))], KIND)
    assert min(rating.info["sigmas"]) > 0


def test_the_command(reward, file, tmp_path, capsys):
    begin = ["annotate", str(file), "--objective", "score", "--rater"]
    options = ["--comparisons.of", "options"]
    by_reward = [*begin, f"reward:{reward}", "--out"]
    assert command(*by_reward, str(tmp_path / "a.jsonl"), *options, "--tie-sigmas", "2") == 0
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["settings"]["tie_sigmas"] == 2.0
    # Segments up to the end of an episode are rated, too.
    assert command(*by_reward, str(tmp_path / "b.jsonl"), "--comparisons.count", "5") == 0
    assert len(read_annotations(tmp_path / "b.jsonl")) == 5
    assert command(*begin, "oracle", "--out", str(tmp_path / "c.jsonl"), *options, "--tie-sigmas", "1") == 2
    assert "only rewards have an uncertainty, not oracle" in capsys.readouterr().err
