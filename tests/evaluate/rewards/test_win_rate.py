"""Win rates: counted by hand, asked in both orders, with intervals that keep their width."""

import numpy as np
import pytest

from pluralign.annotate.judge import Judge, ReplyJudge, mean_of_orders
from pluralign.annotate.rater import Rating
from pluralign.annotate.reward_rater import RewardRater
from pluralign.core import InputError, Objective, OptionRewards
from pluralign.evaluate.rewards.win_rate import (
    COMPLETIONS_PROMPT,
    completion_comparisons,
    tally,
    win_rate,
)

HARMLESS = Objective("harmless", "The response does no harm.")


class ByLength:
    """A scorer: the longer the better."""

    name = "length"

    def score_decisions(self, decisions):
        found = [np.array([float(len(option)) for option in d.options]) for d in decisions]
        return [OptionRewards(mean, np.zeros_like(mean)) for mean in found]


class Places:
    """A language model that likes the words "good" by ``content`` nats, and the first place by ``place``."""

    name = "places"

    def __init__(self, content, place):
        self.content, self.place, self.asked = content, place, []

    def answer_log_probs(self, chats, answers):
        assert answers == ("A", "B")
        self.asked += chats
        odds = []
        for chat in chats:
            first, second = chat.split("Answer A:")[1].split("Answer B:")
            odds.append(self.content * (first.count("good") - second.count("good")) + self.place)
        return np.array([[odd / 2, -odd / 2] for odd in odds])


def comparisons(*pairs):
    return completion_comparisons([f"Q{i}" for i in range(len(pairs))], *zip(*pairs, strict=True))


def test_shares_and_errors_by_hand():
    preferences = ["first"] * 6 + ["tie"] * 3 + ["second"]
    found = tally([Rating(p) for p in preferences] + [None])
    assert [share.mean for share in (found.win, found.tie, found.lose)] == pytest.approx([0.6, 0.3, 0.1])
    # s / sqrt(n), s^2 = n p (1 - p) / (n - 1)
    assert found.win.stderr == pytest.approx(np.sqrt(0.6 * 0.4 / 9))
    assert found.difference.mean == pytest.approx(0.5)
    signs = np.array([1.0] * 6 + [0.0] * 3 + [-1.0])
    assert found.difference.stderr == pytest.approx(signs.std(ddof=1) / np.sqrt(10))
    # Bonett and Price: shares 7/12 and 2/12, half width 1.96 sqrt((9/12 - (5/12)^2) / 12).
    half = 1.959964 * np.sqrt((9 / 12 - (5 / 12) ** 2) / 12)
    assert found.difference.low == pytest.approx(5 / 12 - half, abs=1e-5)
    assert found.difference.high == pytest.approx(5 / 12 + half, abs=1e-5)
    assert (found.prompts, found.unanswered) == (10, 1)
    assert found.contradictions is None


def test_unanimous_raters_leave_doubt():
    found = tally([Rating("first")] * 8)
    assert (found.win.mean, found.lose.mean, found.difference.mean) == (1.0, 0.0, 1.0)
    assert 0.4 < found.difference.low < 0.9
    assert found.difference.high == 1.0
    assert found.win.low < 0.8


def test_the_interval_covers():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        drawn = rng.choice(["first", "tie", "second"], p=[0.4, 0.35, 0.25], size=60)
        found = tally([Rating(str(p)) for p in drawn]).difference
        covered += found.low <= 0.15 <= found.high
    assert 366 <= covered <= 394


def test_exchanging_sides_exchanges_wins():
    pairs = [("aaa", "b"), ("a", "bb"), ("aa", "bb"), ("aaaa", "b")]
    there = win_rate(comparisons(*pairs), RewardRater(ByLength(), batch=3), HARMLESS)
    back = win_rate(comparisons(*[(b, a) for a, b in pairs]), RewardRater(ByLength()), HARMLESS)
    assert (there.win.mean, there.tie.mean, there.lose.mean) == (0.5, 0.25, 0.25)
    assert (back.win, back.tie, back.lose) == (there.lose, there.tie, there.win)
    assert (back.difference.low, back.difference.high) == (-there.difference.high, -there.difference.low)


def test_a_judge_must_say_it_twice():
    pairs = [("good good", "bad"), ("bad", "good good"), ("good", "bad"), ("bad", "bad")]
    scorer = Places(content=1.0, place=1.5)
    found = win_rate(comparisons(*pairs), Judge(scorer, prompt=COMPLETIONS_PROMPT), HARMLESS)
    # One "good" is worth less than the first place: the judge contradicts itself on the last two.
    assert (found.win.mean, found.tie.mean, found.lose.mean) == (0.25, 0.5, 0.25)
    assert found.contradictions is not None
    assert (found.contradictions.mean, found.first_place) == (0.5, 2)
    averaged = Judge(scorer, prompt=COMPLETIONS_PROMPT, decide=mean_of_orders)
    found = win_rate(comparisons(*pairs), averaged, HARMLESS)
    assert (found.win.mean, found.tie.mean, found.lose.mean) == (0.5, 0.25, 0.25)
    assert found.contradictions is not None
    assert found.contradictions.mean == 0.5
    second = win_rate(comparisons(*pairs), Judge(Places(0.0, -1.0), prompt=COMPLETIONS_PROMPT), HARMLESS)
    assert (second.tie.mean, second.contradictions.mean, second.first_place) == (1.0, 1.0, 0)


def test_the_prompt_shows_conversation_aim_and_both():
    scorer = Places(1.0, 0.0)
    dialogue = "\n\nHuman: How do I pick a lock?\n\nAssistant:"
    asked = completion_comparisons([dialogue] * 2, [" I $won't {say}.", "x"], [" Take a pin.", "y"])
    win_rate(asked, Judge(scorer, prompt=COMPLETIONS_PROMPT), HARMLESS)
    text = scorer.asked[0]
    for part in ("does no harm", "Human: How do I pick a lock?", "I $won't {say}.", "Take a pin.", "A or B"):
        assert text.count(part) == 1, part
    assert text.index("I $won't") < text.index("Take a pin.")
    exchanged = scorer.asked[1]
    assert exchanged.index("I $won't") > exchanged.index("Take a pin.")


def test_replies_that_name_neither_are_ties_and_no_contradiction():
    class Mute:
        name = "mute"

        def generate(self, chats, *, max_new_tokens, temperature=1.0, seed=0):
            return ["Both are fine." for _ in chats]

    asked = comparisons(("a", "b"), ("c", "d"))
    found = win_rate(asked, ReplyJudge(Mute(), prompt=COMPLETIONS_PROMPT), HARMLESS)
    assert (found.tie.mean, found.contradictions.mean, found.first_place) == (1.0, 0.0, 0)


def test_unanswered_prompts_do_not_count():
    class Half:
        name, batch, settings = "half", 2, {}

        def rate(self, comparisons, objective):
            return [Rating("second") if c.first.id.startswith("1-") else None for c in comparisons]

    with pytest.raises(InputError, match="found 1"):
        win_rate(comparisons(("a", "b"), ("c", "d"), ("e", "f")), Half(), HARMLESS)


def test_refusals():
    with pytest.raises(InputError, match="found 1 and 2 for 2"):
        completion_comparisons(["p", "q"], ["a"], ["b", "c"])
    with pytest.raises(InputError, match="found 0 and 0 for 0"):
        completion_comparisons([], [], [])
    with pytest.raises(InputError, match="two rated prompts"):
        tally([])

    class Broken(ByLength):
        def score_decisions(self, decisions):
            return [
                OptionRewards(np.full(len(d.options), np.nan), np.zeros(len(d.options))) for d in decisions
            ]

    with pytest.raises(InputError, match="row 1: the rewards of length are not numbers"):
        RewardRater(Broken()).rate(comparisons(("a", "b")), HARMLESS)
