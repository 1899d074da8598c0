"""Progress critics: an oracle's comparisons and numbers, reversal, shuffling, silence."""

import numpy as np
import pytest

from pluralign.annotate.open import open_critic
from pluralign.annotate.progress import OrderingCritic, PercentCritic, parse_percents
from pluralign.core import InputError, Objective

AIM = Objective("score", "The player finds the treasure.")
PASSAGES = [f"worth {worth}." for worth in (3, 0, 7, 5)]


def _worths(text):
    return [
        int(word.rstrip("."))
        for line in text.splitlines()
        for word in line.split()
        if line.startswith("worth ") and word != "worth"
    ]


class Scorer:
    """Log-odds of the passage with the greater worth, and a preference for place A."""

    name = "scorer"

    def __init__(self, sign=1.0, bias=0.0):
        self.sign, self.bias, self.asked = sign, bias, []

    def answer_log_probs(self, chats, answers):
        assert tuple(answers) == ("A", "B")
        self.asked += chats
        gaps = [self.sign * (first - second) for first, second in map(_worths, chats)]
        return np.array([[gap + self.bias, 0.0] for gap in gaps])


class Writer:
    """Replies that say each passage's worth, or something else."""

    name = "writer"

    def __init__(
        self, reply=lambda worths: "\n".join(f"Passage {i}: {10 * w}" for i, w in enumerate(worths, 1))
    ):
        self.reply, self.asked = reply, []

    def generate(self, chats, *, max_new_tokens, temperature=1.0, seed=0):
        self.asked += chats
        return [self.reply(_worths(chat[0]["content"])) for chat in chats]


def test_pairs_give_the_exact_ranks_whatever_the_place():
    found = OrderingCritic(Scorer(bias=2.0)).progress(PASSAGES, AIM)
    assert np.argsort(found.values).tolist() == [1, 0, 3, 2]
    # Borda: the mean gap to the other passages.
    assert found.values == pytest.approx([(3 - 0 + 3 - 7 + 3 - 5) / 3, -15 / 3, 13 / 3, 5 / 3])
    # A bias of 2 decides the pair of 7 and 5 alone in neither order; the one of 3 and 5 neither.
    assert found.info == {"pairs": 6, "same_place": 0}
    assert OrderingCritic(Scorer(bias=100.0)).progress(PASSAGES, AIM).info["same_place"] == 6


def test_reversed_passages_have_reversed_values():
    critic = OrderingCritic(Scorer())
    forward, backward = critic.progress(PASSAGES, AIM), critic.progress(PASSAGES[::-1], AIM)
    assert backward.values == pytest.approx(forward.values[::-1])
    assert OrderingCritic(Scorer(-1.0)).progress(PASSAGES, AIM).values == pytest.approx(-forward.values)


def test_the_seed_of_the_shuffling_changes_no_comparison():
    critic = OrderingCritic(Scorer(bias=1.0))
    values = [critic.progress(PASSAGES, AIM, seed=seed).values.tolist() for seed in (0, 1)]
    assert values[0] == values[1]


def test_numbers_come_back_in_the_passages_order():
    writer = Writer()
    critic = PercentCritic(writer, samples=4)
    found = critic.progress(PASSAGES, AIM, seed=3)
    assert found.values == pytest.approx([0.3, 0.0, 0.7, 0.5])
    assert found.info == {"replies": 4, "malformed": 0}
    orders = [_worths(chat[0]["content"]) for chat in writer.asked]
    # The start stays, the others are shuffled, each time in another way.
    assert all(order[0] == 3 for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_replies_without_all_passages_are_asked_again_and_counted():
    silent = Writer(lambda worths: "I cannot tell.")
    found = PercentCritic(silent, samples=2, re_asks=1).progress(PASSAGES, AIM)
    assert np.isnan(found.values).all()
    assert found.info == {"replies": 2, "malformed": 2}
    assert len(silent.asked) == 4
    assert silent.asked[-1][-1]["content"].startswith("End with one line for each of the 4 passages")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Passage 1: 0\nPassage 2: 35.5 %", (0.0, 0.355)),
        ("<think>Passage 1: 9\nPassage 2: 9</think>**Passage 1:** 0\n**Passage 2:** 100", (0.0, 1.0)),
        ("passage 1 - 5%\npassage 1: 10\npassage 2: 20", (0.1, 0.2)),
        ("Passage 1: 0", None),
        ("Passage 1: 0\nPassage 2: 120", None),
        ("0, 35", None),
    ],
)
def test_percents(reply, expected):
    assert parse_percents(reply, 2) == expected


def test_examples_are_shown():
    scorer = Scorer()
    OrderingCritic(scorer).progress(PASSAGES, AIM, examples=[("The lamp is lit.", 0.25)])
    assert "The lamp is lit.\nProgress: 25 %" in scorer.asked[0]
    assert AIM.description in scorer.asked[0]


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(InputError, match="expected two passages or more, found 1"):
        OrderingCritic(Scorer()).progress(PASSAGES[:1], AIM)
    with pytest.raises(InputError, match="gives no log-probabilities; use percent"):
        open_critic("openai:some", "order")
    with pytest.raises(InputError, match="samples"):
        PercentCritic(Writer(), samples=0)
