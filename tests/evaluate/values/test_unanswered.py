"""Audits of raters who answer nothing, or nothing that can be used."""

import math

import pytest

import pluralign as pl
from pluralign.annotate.judge import ReplyJudge
from pluralign.evaluate.values.audit import AuditConfig, audit_values

TEXTS = [f"outcome {i}" for i in range(14)]
NO_LOTTERIES = AuditConfig(resamples=200, drawn_lotteries=0)


@pytest.mark.parametrize("outcomes", [["one", "two"], ["one", "two", "one"]])
def test_too_few_outcomes_are_refused(outcomes):
    with pytest.raises(pl.InputError, match="three or more different outcomes"):
        audit_values(lambda a, b: 0.5, outcomes)


def test_answers_must_be_probabilities():
    with pytest.raises(pl.InputError, match="two probabilities"):
        audit_values(lambda a, b: 2.0, TEXTS)


def test_nobody_agrees():
    config = AuditConfig(resamples=50, least_agreement=0.0)
    found = audit_values(lambda first, second: 0.9, TEXTS, config=config)
    assert (found.consistency.agreement, found.passed) == (0.0, False)


def test_nobody_answers():
    with pytest.raises(pl.InputError, match="no pair"):
        audit_values(lambda a, b: math.nan, TEXTS)


def test_refusals_are_no_answers_on_which_both_orders_agree():
    class Writer:
        """Refuses about three pairs, and else names the first in the alphabet."""

        name = "writer"

        def generate(self, chats, **settings):
            return [self._reply(chat[0]["content"]) for chat in chats]

        def _reply(self, asked):
            shown = sorted(TEXTS, key=lambda text: asked.find(f"> {text}\n"))[-2:]
            return "I cannot say." if set(shown) < {*TEXTS[3:6]} else "AB"[shown[0] > shown[1]]

    found = audit_values(ReplyJudge(Writer(), re_asks=0), TEXTS[:6], config=NO_LOTTERIES).consistency
    assert (found.pairs, found.unanswered, found.agreement) == (12, 3, 1.0)
    Writer._reply = lambda self, asked: "I cannot say."
    with pytest.raises(pl.InputError, match="no pair"):
        audit_values(ReplyJudge(Writer(), re_asks=0), TEXTS[:6], config=NO_LOTTERIES)
