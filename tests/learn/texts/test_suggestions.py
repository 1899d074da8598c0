"""Weights that depend on the prompt, on a tiny model: who decided is found from choices."""

import json
from dataclasses import replace

import numpy as np
import pytest

import pluralign as pl
from pluralign.core import InputError, OptionRewards, SteeringWeights
from pluralign.folders.card import Card, load_card
from pluralign.folders.tuned import describe_backbone
from pluralign.learn.texts.suggestions import fit_weights
from pluralign.learn.texts.weights_head import WeightsConfig
from pluralign.lm.backbone import load_tokenizer, make_tiny_backbone
from pluralign.lm.prompts import TEMPLATES
from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead, load_prompt_weights
from pluralign.rewards.reward import Reward
from pluralign.steer.suggest import Learned, constant_weights, open_weights

PLAIN, RISKY = "Name a colour", "Is this poison"


class Planted(Reward):
    """A reward with given values by completion, plus a level that depends on the prompt."""

    def __init__(self, name, values, level=0.0):
        self.name, self._values, self._level = name, values, level

    @property
    def counts(self):
        return {}

    def render(self, messages, opens):
        return str(messages)

    def score_decisions(self, decisions):
        found = []
        for decision in decisions:
            level = self._level * (RISKY in decision.prompt)
            mean = np.array([self._values[option] + level for option in decision.options])
            found.append(OptionRewards(mean, np.zeros(len(mean))))
        return found


class Direct(Planted):
    """A reward that is a function of the texts as it is given them."""

    def score_decisions(self, decisions):
        found = []
        for one in decisions:
            mean = np.array(self._values([one.prompt] * len(one.options), one.options), float)
            found.append(OptionRewards(mean, np.zeros(len(mean))))
        return found

    @property
    def template(self):
        return TEMPLATES["chat"](load_tokenizer("tiny-random"))


@pytest.fixture(scope="module")
def planted():
    """Choices by the harmless reward for risky prompts, by the helpful one for plain prompts."""
    rng = np.random.default_rng(0)
    values = {name: {} for name in ("helpful", "harmless")}
    rows = []
    for number in range(600):
        prompt = f"{RISKY if number % 2 else PLAIN} {number}?"
        weights = [0.1, 0.9] if number % 2 else [0.9, 0.1]
        scores = rng.normal(size=(2, 2))
        utility = scores @ weights
        first = rng.random() < 1 / (1 + np.exp(-6 * (utility[0] - utility[1])))
        texts = [f" a{number}", f" b{number}"]
        for text, own in zip(texts, scores, strict=True):
            values["helpful"][text], values["harmless"][text] = own
        chosen, rejected = texts if first else texts[::-1]
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    pairs = pl.load_pairs(rows, "choice", shares=(0.8, 0.2, 0.0))

    def rewards(level=0.0):
        return {
            "helpful": Planted("helpful", values["helpful"]),
            "harmless": Planted("harmless", values["harmless"], level),
        }

    return pairs, rewards


def suggested(model):
    own = model.weights([f"{kind} {n}?" for kind in (PLAIN, RISKY) for n in range(700, 720)])
    return own[:20, 1].mean(), own[20:, 1].mean()


def test_choices_tell_what_mattered(planted, tmp_path):
    pairs, rewards = planted
    config = WeightsConfig(penalties=(0.01,))
    found = fit_weights(pairs, rewards(), out=tmp_path / "w", model="tiny-random", config=config)
    plain, risky = suggested(found)
    assert plain == pytest.approx(0.1, abs=0.05)
    assert risky == pytest.approx(0.9, abs=0.05)
    figures = found.card.figures
    assert figures["validation_learned"] > figures["validation_fixed"] + 0.05
    assert figures["fixed_weights"] == pytest.approx([0.5, 0.5], abs=0.1)
    again = load_prompt_weights(tmp_path / "w")
    np.testing.assert_array_equal(again.weights([PLAIN, RISKY]), found.weights([PLAIN, RISKY]))
    np.testing.assert_allclose(again.weights([RISKY]), found.weights([PLAIN, RISKY])[1:], atol=1e-5)
    # A level of a reward says nothing about what decided.
    moved = fit_weights(pairs, rewards(-5.0), out=tmp_path / "moved", model="tiny-random", config=config)
    np.testing.assert_allclose(moved.weights([PLAIN, RISKY]), found.weights([PLAIN, RISKY]), atol=1e-3)


def test_the_papers_label_follows_the_level(planted, tmp_path):
    # Risky prompts have low harmless rewards: the label says that harmlessness matters less there.
    pairs, rewards = planted
    config = WeightsConfig(label="softmax", penalties=(0.01,))
    found = fit_weights(pairs, rewards(-3.0), out=tmp_path / "w", model="tiny-random", config=config)
    plain, risky = suggested(found)
    assert risky < plain
    # What it is compared with are the best fixed weights for the choices, not for the label.
    assert found.card.figures["fixed_weights"] == pytest.approx([0.5, 0.5], abs=0.1)
    margins = WeightsConfig(label="margin", penalties=(0.01,))
    plain, risky = suggested(
        fit_weights(pairs, rewards(-3.0), out=tmp_path / "m", model="tiny-random", config=margins)
    )
    assert risky > plain + 0.1


def test_a_wish_is_a_prior(planted, tmp_path):
    pairs, rewards = planted
    provider = Learned(fit_weights(pairs, rewards(), out=tmp_path / "w", model="tiny-random"))
    (alone,) = provider.suggest([RISKY])
    (equal,) = provider.suggest([RISKY], SteeringWeights(helpful=0.5, harmless=0.5))
    with pytest.raises(InputError, match="expected a sequence of prompts, found one"):
        provider.suggest(RISKY)
    assert dict(equal) == pytest.approx(dict(alone))
    (wished,) = provider.suggest([RISKY], SteeringWeights(helpful=0.9, harmless=0.1))
    odds = 9 * alone["helpful"] / alone["harmless"]
    assert wished["helpful"] / wished["harmless"] == pytest.approx(odds)
    assert provider.suggest([RISKY], SteeringWeights(helpful=1.0))[0] == SteeringWeights(
        helpful=1, harmless=0
    )
    text = f"wish:{tmp_path / 'w'}:helpful=0.9,harmless=0.1"
    # The folder is opened in the faster precision, which is bfloat16 on some processors.
    assert dict(open_weights(text).suggest([RISKY])[0]) == pytest.approx(dict(wished), abs=2e-3)
    with pytest.raises(InputError, match="depend on the prompt"):
        constant_weights(text)


def test_an_untrained_layer_suggests_equal_weights():
    from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead

    backbone = make_tiny_backbone()
    model = PromptWeights(backbone, WeightsHead(backbone.hidden_size, 3), ["a", "b", "c"])
    np.testing.assert_array_equal(model.weights(["x", [{"role": "user", "content": "y"}]]), 1 / 3)


def test_wrong_data_is_refused(planted, tmp_path):
    pairs, rewards = planted
    two = rewards()
    unsure = [*pairs[:20], replace(pairs[20], weight=0.7)]
    with pytest.raises(InputError, match="weights does not support uncertain labels"):
        fit_weights(unsure, two, out=tmp_path / "u", model="tiny-random")
    with pytest.raises(InputError, match="two or more objectives"):
        fit_weights(pairs, {"helpful": two["helpful"]}, out=tmp_path / "a", model="tiny-random")
    flat = {**two, "flat": Planted("flat", dict.fromkeys(two["helpful"]._values, 1.0))}
    with pytest.raises(InputError, match="'flat' gives both completions"):
        fit_weights(pairs[:20], flat, out=tmp_path / "b", model="tiny-random")
    wrong = {**two, "wrong": Planted("wrong", dict.fromkeys(two["helpful"]._values, np.nan))}
    with pytest.raises(InputError, match="not numbers"):
        fit_weights(pairs[:20], wrong, out=tmp_path / "c", model="tiny-random")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError):
        fit_weights(pairs[:20], two, out=tmp_path / "d", model="tiny-random")
    with pytest.raises(InputError, match="above 0"):
        WeightsConfig(penalties=())


def test_turns_within_a_completion_are_read_as_turns(tmp_path):
    turns = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "More"}]
    rows = [
        {"prompt": [{"role": "user", "content": f"Say {number}"}],
         "chosen": [*turns, {"role": "assistant", "content": "ok" * (1 + number % 2)}],
         "rejected": [{"role": "assistant", "content": "no"}]}
        for number in range(16)
    ]  # fmt: skip
    pairs = pl.load_pairs(rows, "choice", template="chat", model="tiny-random", shares=(1, 0, 0))
    seen = []

    def length(prompts, texts):
        seen.extend(texts)
        return [len(text) for text in texts]

    rewards = {
        "long": Direct("long", length),
        "brief": Direct("brief", lambda prompts, texts: [-(len(text) ** 0.5) for text in texts]),
    }
    fit_weights(pairs, rewards, out=tmp_path / "w", model="tiny-random")
    assert seen == [text for pair in pairs for _, text in pair.texts()]


def test_an_interrupted_run_keeps_the_rewards_that_it_has(tmp_path):
    rows = [{"prompt": f"Say {number}", "chosen": " yes", "rejected": " no"} for number in range(16)]
    pairs = pl.load_pairs(rows, "choice", shares=(1, 0, 0))
    read, ends = [], True

    def brief(prompts, texts):
        read.extend(texts)
        return [-len(text) for text in texts]

    def early(prompts, texts):
        if ends:
            raise KeyboardInterrupt
        return [-ord(text[1]) for text in texts]

    rewards = {"brief": pl.FunctionReward("brief", brief), "early": pl.FunctionReward("early", early)}
    with pytest.raises(KeyboardInterrupt):
        fit_weights(pairs, rewards, out=tmp_path / "w", model="tiny-random")
    ends = False
    fit_weights(pairs, rewards, out=tmp_path / "w", model="tiny-random")
    assert len(read) == 32
    # A finished run is another matter: what its rewards are may have changed.
    fit_weights(pairs, rewards, out=tmp_path / "w", model="tiny-random")
    assert len(read) == 64


def test_an_interrupted_run_goes_on_with_other_rewards_of_the_same_name(tmp_path):
    rows = [{"prompt": f"Say {number}", "chosen": " yes", "rejected": " no"} for number in range(16)]
    pairs = pl.load_pairs(rows, "choice", shares=(1, 0, 0))

    def fails(prompts, texts):
        raise KeyboardInterrupt

    def length(prompts, texts):
        return [len(text) for text in texts]

    def longer(prompts, texts):
        return [7.5 * len(text) for text in texts]

    def spread(long, second):
        rewards = {"long": pl.FunctionReward("long", long), "early": pl.FunctionReward("early", second)}
        fit_weights(pairs, rewards, out=tmp_path, model="tiny-random")
        return load_card(tmp_path).figures["spreads"]["long"]

    with pytest.raises(KeyboardInterrupt):
        spread(length, fails)
    found = spread(longer, lambda prompts, texts: [-ord(text[1]) for text in texts])
    assert found == pytest.approx(
        7.5 * spread(length, lambda prompts, texts: [ord(text[1]) for text in texts])
    )


def test_a_wish_for_what_the_model_rules_out_stays_a_wish():
    import torch

    from pluralign.rewards.prompt_weights import PromptWeights, WeightsHead

    backbone = make_tiny_backbone()
    head = WeightsHead(backbone.hidden_size, 3)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([2000.0, 0.0, 0.0]))
    provider = Learned(PromptWeights(backbone, head, ["a", "b", "c"]))
    assert [dict(one) for one in provider.suggest(["x"])] == [{"a": 1, "b": 0, "c": 0}]
    wish = SteeringWeights(b=0.25, c=0.75)
    assert provider.suggest(["x", "y"], wish) == [SteeringWeights(a=0, b=0.25, c=0.75)] * 2
    assert provider.suggest(["x"], SteeringWeights(a=0.1, c=0.9))[0] == SteeringWeights(a=1, b=0, c=0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("template", "x", "must be one of dialogue, chat"),
        ("max_length", None, "no settings for reading text"),
    ],
)
def test_a_damaged_card_is_one_line(field, value, message, tmp_path):
    backbone = make_tiny_backbone()
    card = Card("weights", backbone=describe_backbone(backbone))
    PromptWeights(backbone, WeightsHead(32, 2), ["a", "b"], card=card).save(tmp_path)
    content = json.loads((tmp_path / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps({**content, field: value}))
    with pytest.raises(InputError, match=message):
        load_prompt_weights(tmp_path)
