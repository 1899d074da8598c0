"""Mixtures that are asked, and models by letters and by likelihoods."""

import json
from dataclasses import replace

import numpy as np
import pytest

import pluralign as pl
from pluralign.annotate.reward_rater import RewardRater
from pluralign.core import Decision, OptionRewards
from pluralign.evaluate.values.audit import AuditConfig
from pluralign.evaluate.values.choosers import RaterChooser, ReplyChooser, letter_chooser, settings_of
from pluralign.evaluate.values.mixtures import MixtureReplies, mixtures_of
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.language_model import LanguageModel

OUTCOMES = ["It rains.", "The sun shines.", "It snows all night."]
DECISIONS = [Decision("Rain or sun?", ("rain", "the sun")), Decision("Tea?", ("yes", "no"))]


@pytest.fixture(scope="module")
def model():
    return LanguageModel(make_tiny_backbone())


@pytest.fixture(scope="module")
def policies():
    return pl.load_policies("tiny-random", helpful="tiny-random", harmless="tiny-random", dtype="float32")


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_a_mixture_of_equal_policies_is_the_policy(model, policies, share):
    mixture = MixtureReplies(policies, pl.SteeringWeights(helpful=share, harmless=1 - share))
    pairs = zip(mixture.reply_log_likelihoods(DECISIONS), model.reply_log_likelihoods(DECISIONS), strict=True)
    for own, expected in pairs:
        np.testing.assert_allclose(own.log_likelihoods, expected.log_likelihoods, atol=1e-3)
        assert own.lengths.tolist() == expected.lengths.tolist()
    own = mixture.answer_log_probs(["Rain or sun?"], ["A", "B"])
    np.testing.assert_allclose(own, model.answer_log_probs(["Rain or sun?"], ["A", "B"]), atol=1e-3)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_mixtures_under_several_weights_read_each_text_once(monkeypatch, power):
    policies = pl.load_policies(
        "tiny-random", helpful="tiny-random", harmless="tiny-random", dtype="float32", power=power
    )
    mixes = [pl.SteeringWeights(helpful=share, harmless=1 - share) for share in (0.0, 0.3, 1.0)]
    alone = [MixtureReplies(policies, mix).reply_log_likelihoods(DECISIONS) for mix in mixes]
    read = []
    whole = policies.rows.predictions
    monkeypatch.setattr(
        policies.rows, "predictions", lambda number, *rest: (read.append(number), whole(number, *rest))[1]
    )
    together = [one.reply_log_likelihoods(DECISIONS) for one in mixtures_of(policies, mixes)]
    # Two policies read two options of two decisions.
    assert len(read) == 8
    for own, expected in zip(together, alone, strict=True):
        for one, other in zip(own, expected, strict=True):
            np.testing.assert_allclose(one.log_likelihoods, other.log_likelihoods, atol=1e-5)


def test_answers_of_another_mixture_are_not_taken_for_its_own(model, policies, tmp_path):
    def settings(asked):
        return [letter_chooser(asked).settings, ReplyChooser(asked).settings, settings_of(asked)]

    mix = pl.SteeringWeights(helpful=0.3, harmless=0.7)
    mixture, learned = MixtureReplies(policies, mix), tmp_path / "card.json"
    learned.write_text("{}")
    others = [
        LanguageModel(make_tiny_backbone(seed=1)),
        MixtureReplies(replace(policies, power=1.0), mix),
        MixtureReplies(replace(policies, folders={"helpful": tmp_path}), mix),
    ]
    found = [settings(one) for one in (model, mixture, *others)]
    learned.write_text('{"seed": 1}')
    found.append(settings(others[-1]))
    for asked in zip(*found, strict=True):
        assert len({json.dumps(dict(one)) for one in asked}) == len(found)
    assert settings(MixtureReplies(policies, mix)) == found[1]


def test_an_unknown_objective_is_refused(policies):
    with pytest.raises(pl.InputError, match="unknown objective"):
        MixtureReplies(policies, pl.SteeringWeights(kind=1.0))


def test_letters_are_read_by_their_log_odds(model):
    ((listed, exchanged),) = letter_chooser(model).prefer([tuple(OUTCOMES[:2])])
    assert 0 < listed < 1
    assert 0 < exchanged < 1
    assert pl.audit_values(model, OUTCOMES, config=AuditConfig(drawn_lotteries=0)).consistency.pairs == 3


def test_likelihoods_change_with_the_order_as_the_model_says(model):
    chooser = ReplyChooser(model)
    pair, turned = tuple(OUTCOMES[:2]), tuple(OUTCOMES[1::-1])
    (one,), (other,) = chooser.prefer([pair]), chooser.prefer([turned])
    np.testing.assert_allclose(one, 1 - other[::-1], atol=1e-6)


def test_a_reward_has_no_order():
    class Length:
        name, counts = "length", {}

        def score_decisions(self, decisions):
            means = [np.array([len(option) / 10 for option in d.options]) for d in decisions]
            return [OptionRewards(mean, np.zeros_like(mean)) for mean in means]

    chooser = RaterChooser(RewardRater(Length()))
    assert chooser.order_free
    found = pl.audit_values(chooser, OUTCOMES, config=AuditConfig(drawn_lotteries=0))
    assert found.consistency.agreement == 1.0
    ((listed, exchanged),) = chooser.prefer([(OUTCOMES[2], OUTCOMES[0])])
    assert listed == exchanged == pytest.approx(1 / (1 + np.exp(-1.0)))
