"""Samples of adversarial imitation: their pairs with demonstrations, limits and log-probabilities."""

import copy
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from pluralign.core import Decision, Demonstration, OptionRewards, SteeringWeights
from pluralign.core.messages import DIALOGUE
from pluralign.core.turns import completion_texts
from pluralign.learn.combination import Combination
from pluralign.learn.texts import rl_rounds, spin
from pluralign.learn.texts.adversarial import rounds
from pluralign.learn.texts.adversarial.rounds import AdversarialConfig, discriminator_pairs
from pluralign.learn.texts.adversarial.samples import sample_log_probs, within_limits
from pluralign.learn.texts.combined_reward import reward_of_samples
from pluralign.learn.texts.policy_settings import SPINConfig
from pluralign.learn.texts.rl_rounds import RLConfig
from pluralign.learn.texts.run import Run
from pluralign.learn.weighting import Fixed
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.lm.prompts import TEMPLATES, completion_ids, quoted_completion, sample_texts
from pluralign.losses.adversarial import AIRL
from pluralign.rewards.reward import Reward


def test_pairs_are_all_demonstrations_with_all_samples():
    rows = [
        Demonstration("p", "a", "good", split="validation"),
        Demonstration("p", "b", "good", split="validation"),
        Demonstration("q", "c", "good"),
        Demonstration("without samples", "d", "good"),
    ]
    pairs = discriminator_pairs(rows, {"p": ["a", "x", ""], "q": ["c"]})

    def text(segment):
        (step,) = segment.steps
        return step.decision.prompt, step.decision.options[step.action]

    found = [(*text(pair.chosen), text(pair.rejected)[1], pair.split) for pair in pairs]
    assert found == [
        ("p", "a", "a", "validation"), ("p", "a", "x", "validation"), ("p", "a", "", "validation"),
        ("p", "b", "a", "validation"), ("p", "b", "x", "validation"), ("p", "b", "", "validation"),
        ("q", "c", "c", "train"),
    ]  # fmt: skip
    assert {pair.objective for pair in pairs} == {"good"}
    many = discriminator_pairs(
        [Demonstration(f"p{i}", f"good {i}") for i in range(400)],
        {f"p{i}": [f"bad {i}"] for i in range(400)},
    )
    first = sum(pair.chosen.steps[0].action == 0 for pair in many)
    assert binomtest(first, 400).pvalue > 0.01


def test_demonstrations_are_cut_as_samples_are():
    tokenizer = load_backbone("tiny-random").tokenizer
    rows = [
        Demonstration("prompt 12345", "short<|im_end|>\n", "good", split="test"),
        Demonstration("a" * 30 + "the end", "longer than eight", "good"),
    ]
    first, second = within_limits(rows, tokenizer, 21, 8)
    assert first == Demonstration("prompt 12345", "short", "good", split="test")
    assert (second.prompt, second.completion) == ("aaaaathe end", "longer t")


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_are_the_model_s(temperature):
    backbone = load_backbone("tiny-random")
    samples = [("say:", ["ab", "abc", ""]), ("or so:", ["xyz"])]
    found = sample_log_probs(backbone, samples, Decoding(3, temperature), token_budget=64)
    expected = []
    for prompt, text, ends in [("say:", "ab", 1), ("say:", "abc", 0), ("say:", "", 1), ("or so:", "xyz", 0)]:
        start = backbone.tokenizer(prompt)["input_ids"]
        tail = backbone.tokenizer(text)["input_ids"] + [backbone.tokenizer.eos_token_id] * ends
        logits = backbone.model(torch.tensor([start + tail])).logits[0, len(start) - 1 : -1]
        logs = (logits / temperature).log_softmax(-1)
        expected.append(logs[range(len(tail)), tail].sum())
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_samples_depend_on_their_prompt_and_label_alone():
    backbone = load_backbone("tiny-random")

    def draw(prompts, label="a", seed=0):
        return draw_samples(backbone, prompts, 3, Decoding(4), seed=seed, label=label)

    assert draw(["one:", "two:"])["two:"] == draw(["two:"])["two:"]
    assert len({json.dumps(draw(["two:"], *own)) for own in [("a", 0), ("b", 0), ("a", 1)]}) == 3


def test_log_ratios_of_a_batch_read_a_prompt_once(monkeypatch):
    read = []

    def none(policy, samples, *rest, **more):
        read.append(samples)
        return torch.zeros(sum(len(texts) for _, texts in samples))

    monkeypatch.setattr(rounds, "sample_log_probs", none)
    monkeypatch.setattr(
        rounds, "reward_of_samples", lambda model, turns: lambda prompts, texts: [0.0] * len(texts)
    )
    policy = load_backbone("tiny-random")
    session = SimpleNamespace(
        run=Run("tiny-random"), backbone=policy, trunk=SimpleNamespace(model=policy.model), out=None
    )
    own = rounds.Rounds(session, AdversarialConfig(kl=1.0), AIRL, [])
    texts = ["a", "b", "c<|im_end|>d", "e"]
    assert own._reward(None, policy)(["x", "x", "y", "y"], texts) == [0.0] * 4
    # Nobody but a sampler ends a turn: the name is ordinary text.
    named = quoted_completion(policy.tokenizer, texts[2])
    assert named != texts[2]
    assert read == [[("x", ["a", "b"]), ("y", [named, "e"])]] * 2


class Seen(Reward):
    """A reward that keeps the decisions that it is asked about."""

    name, counts = "seen", {}

    def __init__(self, template):
        self.decisions, self._template = [], template

    @property
    def template(self):
        return self._template

    def render(self, messages, opens):
        return self._template.render(messages, opens)

    def score_decisions(self, decisions):
        self.decisions += decisions
        return [OptionRewards(*np.zeros((2, len(one.options)))) for one in decisions]


@pytest.fixture(scope="module")
def talks():
    """A model whose turns do not end with its end-of-text token."""
    backbone = load_backbone("tiny-random")
    tokenizer = copy.deepcopy(backbone.tokenizer)
    tokenizer.eos_token = "<|endoftext|>"
    return dataclasses.replace(backbone, tokenizer=tokenizer)


def test_samples_are_kept_and_those_of_other_prompts_added(tmp_path, monkeypatch):
    asked = []

    def draw(policy, prompts, *rest, **more):
        asked.append(prompts)
        return {prompt: [f"{prompt}!"] for prompt in prompts}

    monkeypatch.setattr(rounds, "draw_samples", draw)
    backbone = load_backbone("tiny-random")
    session = SimpleNamespace(
        out=tmp_path, backbone=backbone, run=Run("tiny-random"), trunk=SimpleNamespace(model=backbone.model)
    )
    own = rounds.Rounds(session, AdversarialConfig(), AIRL, [])
    assert own._kept_samples(1, backbone, ["a", "b"]) == {"a": ["a!"], "b": ["b!"]}
    assert own._kept_samples(1, backbone, ["a", "c"]) == {"a": ["a!"], "b": ["b!"], "c": ["c!"]}
    own._kept_samples(1, backbone, ["b", "c"])
    assert asked == [["a", "b"], ["c"]]


def test_an_empty_answer_is_the_end_of_its_turn(talks):
    """What a model writes that has nothing to say; its likelihood is that of this token."""
    template = TEMPLATES["chat"](talks.tokenizer)
    ask, end = [{"role": "user", "content": "Say"}], talks.tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = [
        completion_texts(template, ask, answer)[1] for answer in ("", [{"role": "assistant", "content": ""}])
    ]
    assert [completion_ids(talks.tokenizer, text) for text in said] == [[end]] * 2
    prompt, written = template(ask, True), sample_texts(talks.tokenizer, turns=True)("")
    (found,) = sample_log_probs(talks, [(prompt, [written])], Decoding(4), token_budget=100)
    ids = torch.tensor([talks.tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        expected = talks.model(ids).logits[0, -1].log_softmax(-1)[end]
    torch.testing.assert_close(found, expected)


def test_samples_in_conversations_end_as_the_data_do(talks, tmp_path, monkeypatch):
    rows = [
        {
            "prompt": [{"role": "user", "content": "Say"}],
            "completion": [{"role": "assistant", "content": text}],
        }
        for text in ("yes", "more than eight")
    ]
    template = TEMPLATES["chat"](talks.tokenizer)
    read = [completion_texts(template, row["prompt"], row["completion"]) for row in rows]
    given = [Demonstration(*texts, "good") for texts in read]
    cut = within_limits(given, talks.tokenizer, 100, 8)
    assert [row.completion for row in cut] == ["yes<|im_end|>", "more tha<|im_end|>"]
    ends = [completion_ids(talks.tokenizer, row.completion)[-1] for row in (*given, *cut)]
    assert set(ends) == {talks.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    # Samples come without it.
    (tmp_path / "rounds").mkdir()
    drawn = {"prompt": given[0].prompt, "completion": "no", "sample": 0}
    (tmp_path / "rounds" / "1.jsonl").write_text(json.dumps(drawn) + "\n")
    session = SimpleNamespace(
        out=tmp_path, backbone=talks, run=Run("tiny-random"), trunk=SimpleNamespace(model=talks.model)
    )
    (own,) = spin._draw(session, given[:1], SPINConfig(), 1, turns=True)
    assert own.completion == "no<|im_end|>"
    monkeypatch.setattr(rounds, "draw_samples", lambda *rest, **more: {"p": ["no"]})
    adversarial = rounds.Rounds(session, AdversarialConfig(), AIRL, [], turns=True)
    assert adversarial._draw(talks, ["p"], "") == {"p": ["no<|im_end|>"]}
    asked = []
    monkeypatch.setattr(
        rl_rounds, "sample_log_probs", lambda policy, rows, *rest, **more: asked.append(rows) or torch.ones(1)
    )
    fixed = Fixed(SteeringWeights(a=1))
    rl = rl_rounds.Rounds(session.run, RLConfig(), {}, fixed, Combination(), [], [], talks, turns=True)
    rl._log_ratios(talks, ["p"], [["no"]])
    assert asked == [[("p", ["no<|im_end|>"])]] * 2
    for known, end in ((template, "<|im_end|>"), (DIALOGUE, "")):
        seen = Seen(known)
        reward_of_samples(seen, turns=True)(["p"], ["no"])
        assert seen.decisions == [Decision("p", ("no" + end,))]
