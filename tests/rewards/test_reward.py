"""Texts are scored directly, whatever kind of reward it is."""

import numpy as np
import pytest

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.messages import dialogue
from pluralign.lm.backbone import load_backbone
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.open import load_reward
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardModel


class Length(Reward):
    """Minus the number of characters, with an uncertainty of a tenth of it."""

    name = "length"

    @property
    def counts(self):
        return {}

    def __init__(self):
        self.asked = []

    def render(self, messages, opens):
        return dialogue(messages, opens)

    def score_decisions(self, decisions):
        found = list(decisions)
        self.asked += found
        sizes = [np.array([float(len(option)) for option in d.options]) for d in found]
        return [OptionRewards(-size, size / 10) for size in sizes]


def test_each_completion_has_its_reward_and_a_prompt_is_asked_once():
    reward = Length()
    found = reward.score(["p", "q", "p"], ["one", "fifth", "eleven"])
    assert found.shape == (3,)
    assert found.tolist() == [-3, -5, -6]
    assert reward.asked == [Decision("p", ("one", "eleven")), Decision("q", ("fifth",))]
    gaussian = reward.gaussian(["p", "q"], ["one", "fifth"])
    assert gaussian.mean.tolist() == [-3, -5]
    np.testing.assert_allclose(gaussian.sigma, [0.3, 0.5])
    assert reward.score([], []).shape == (0,)


def test_messages_are_rendered():
    reward = Length()
    asked = [{"role": "user", "content": "Who?"}]
    for completion in ("Me.", [{"role": "assistant", "content": "Me."}]):
        reward.score([asked], [completion])
        assert reward.asked.pop() == Decision("\n\nHuman: Who?\n\nAssistant:", (" Me.",))


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(InputError, match="found 2 prompts and 1 completions"):
        Length().score(["a", "b"], ["c"])
    with pytest.raises(InputError, match="expected a list of texts or of messages, found a single text"):
        Length().score("a prompt", ["c"])
    with pytest.raises(InputError, match="'length' only has rewards of whole completions"):
        Length().tokens("p", "c")
    with pytest.raises(InputError, match="'length' only has rewards of whole completions"):
        Length().sentences("p", "c")


def test_texts_have_the_rewards_of_decisions():
    backbone = load_backbone("tiny-random")
    head = RewardHead(backbone.hidden_size, HeadShape(gaussian=True, reduction="mean"))
    decisions = [Decision("Say a:", (" a!", " a and more.")), Decision("b", ("",))]
    prompts, texts = ["Say a:", "b", "Say a:"], [" a!", "", " a and more."]
    for reward in (RewardModel("rm", backbone, head), LikelihoodRatio(backbone, backbone)):
        (one, two), (three,) = (own.mean for own in reward.score_decisions(decisions))
        np.testing.assert_array_equal(reward.score(prompts, texts), [one, three, two])
    model = RewardModel("rm", backbone, head)
    tokens = model.tokens("Say a:", " a and more.")
    assert "".join(token.text for token in tokens) == " a and more."
    assert np.mean([token.mean for token in tokens]) == pytest.approx(
        model.score(["Say a:"], [" a and more."])[0], abs=1e-5
    )


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected auto, float32, bfloat16, float16"):
        load_reward(tmp_path, dtype="half")
