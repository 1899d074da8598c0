"""Accuracy of rewards: ties count half, intervals are Wilson's, numbers that are none are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pluralign.core import Decision, InputError, OptionRewards, PreferencePair, Segment, Step
from pluralign.core.digests import source_digest
from pluralign.data.load import load_pairs
from pluralign.data.reading import quoted_decisions
from pluralign.evaluate.rewards.accuracy import evaluate_reward, of_part, reward_accuracy, trained_splits
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training


class ByTable:
    """Rewards looked up by the completion."""

    def __init__(self, rewards):
        self.rewards = rewards

    def score_decisions(self, decisions):
        found = [np.array([self.rewards[option] for option in d.options]) for d in decisions]
        return [OptionRewards(mean, np.zeros_like(mean)) for mean in found]


def _pair(chosen, rejected, other_prompt=False):
    if other_prompt:
        steps = [Step(Decision(prompt, (text,)), 0) for prompt, text in (("p", chosen), ("q", rejected))]
    else:
        decision = Decision("p", (rejected, chosen))
        steps = [Step(decision, 1), Step(decision, 0)]
    return PreferencePair(*(Segment(str(i), 0, (step,)) for i, step in enumerate(steps)), objective="o")


def test_ties_count_half_and_two_prompts_are_taken():
    model = ByTable({"a": 2.0, "b": 1.0, "c": 1.0, "d": 3.0})
    pairs = [_pair("a", "b"), _pair("a", "b", other_prompt=True), _pair("b", "c"), _pair("b", "d")]
    found = reward_accuracy(model, pairs)
    assert found.accuracy == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert (found.pairs, found.ties) == (4, 1)
    assert found.margins == (1.0, 1.0, 0.0, -2.0)


def test_pairs_without_a_label_are_left_out():
    model = ByTable({"a": 2.0, "b": 1.0})
    labelled = [_pair("a", "b"), _pair("b", "a"), replace(_pair("a", "b"), weight=0.6)]
    ties = [replace(_pair("b", "a"), weight=0.5)] * 5
    found = reward_accuracy(model, [*ties, *labelled])
    assert found.accuracy == pytest.approx(2 / 3)
    assert (found.pairs, found.unlabelled, found.margins) == (3, 5, (1.0, -1.0, 1.0))
    with pytest.raises(InputError, match="all 5 pairs are ties"):
        reward_accuracy(model, ties)


def test_texts_that_a_chat_template_rendered_are_read_as_they_are():
    talk = [{"role": role, "content": role} for role in ("user", "assistant", "user", "assistant")]
    rows = [{"chosen": talk, "rejected": [talk[0], {"role": "assistant", "content": "no"}]}]
    pairs = load_pairs(rows, "o", template="chat", model="tiny-random")
    ((_, chosen), (_, rejected)) = pairs[0].texts()
    model = ByTable({chosen: 1.0, rejected: 0.0})
    model.template = replace(pairs.template, quote_completion=lambda text: f"quoted {text}")
    assert reward_accuracy(model, of_part(pairs, "all", "data")).accuracy == 1.0
    assert [one.options for (one,) in quoted_decisions(pairs, model.template)] == [
        pairs[0].decisions()[0].options
    ]


def test_the_interval_is_wilsons():
    model = ByTable({"a": 2.0, "b": 1.0})
    pairs = [_pair("a", "b")] * 8 + [_pair("b", "a")] * 2
    found = reward_accuracy(model, pairs)
    # (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) at p = .8, n = 10, z = 1.959964
    z, n, p = 1.959964, 10, 0.8
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert found.low == pytest.approx((middle - half) / (1 + z**2 / n), abs=1e-5)
    assert found.high == pytest.approx((middle + half) / (1 + z**2 / n), abs=1e-5)


def test_pairs_of_one_prompts_ranked_completions_depend_on_each_other():
    """All pairs of five completions of 20 prompts; intervals of independent ones hold their mean in 69 %."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(120):
        rewards, pairs = {}, []
        for prompt in range(20):
            truth, skill = rng.normal(size=5), rng.normal(0.8, 0.8)
            names = [f"{prompt}.{i}" for i in np.argsort(-truth)]
            noise = rng.normal(size=5) * 0.7
            rewards |= dict(zip(names, (skill * np.sort(truth)[::-1] + noise).tolist(), strict=True))
            pairs += [_pair(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
        found.append(reward_accuracy(ByTable(rewards), pairs))
    mean = np.mean([one.accuracy for one in found])
    assert sum(one.low <= mean <= one.high for one in found) >= 0.9 * len(found)


def test_refusals():
    with pytest.raises(InputError, match="no pair"):
        reward_accuracy(ByTable({}), [])
    with pytest.raises(InputError, match="not numbers"):
        reward_accuracy(ByTable({"a": float("nan"), "b": 1.0}), [_pair("a", "b")])
    step = Step(Decision("p", ("a", "b")), 0)
    long = PreferencePair(Segment("x", 0, (step, step)), Segment("y", 0, (step,)), objective="o")
    with pytest.raises(InputError, match="this segment has 2"):
        reward_accuracy(ByTable({"a": 1.0, "b": 1.0}), [long])


def test_unseen_pairs_are_in_the_test_split_of_every_member(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("one")
    own, other = dict(source_digest(data)), {"file": "other.jsonl", "file_digest": "0"}
    assert trained_splits({"seed": 3, "data": own}, str(data)) == [{"seed": 3}]
    assert trained_splits({"seed": 3, "data": other}, str(data)) == trained_splits({}, str(data)) == []
    members = [{"seed": 4, "data": own}, {"seed": 3, "data": own}, {"seed": 5, "data": other}]
    found = trained_splits({"seed": 0, "data": own, "members": members}, str(data))
    assert found == [{"seed": 3}, {"seed": 4}]
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b"} for i in range(200)]
    one, two = (load_pairs(rows, "o", seed=seed) for seed in (3, 4))
    prompts = [{p.texts()[0][0] for p in of_part(own, "test", "rows")} for own in (one, two)]
    both = {pair.texts()[0][0] for pair in of_part(one, "test", "rows", [two])}
    assert both == prompts[0] & prompts[1] != set()
    assert len(of_part(one, "all", "rows", [two])) == 200


ROWS = [{"prompt": f"Say {i}:", "chosen": f" yes {i}", "rejected": " no"} for i in range(60)]


@pytest.mark.parametrize("splits", [{"seed": 3}, {"seed": 3, "shares": (0.5, 0.1, 0.4)}, {}])
def test_rewards_trained_from_python_are_measured_on_pairs_that_they_did_not_see(splits, tmp_path):
    """The split by which pairs were loaded counts, and not the seed of the run."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    pairs = load_pairs(str(data), "o", **splits)
    reward = tmp_path / "reward"
    fit_bradley_terry(pairs, Run("tiny-random", reward, Training(layers=0, bf16=False), seed=1))
    data = data.rename(tmp_path / "renamed.jsonl")
    found = evaluate_reward(reward, data)
    assert found.part == "test"
    unseen = {pair.texts() for pair in pairs if pair.split == "test"}
    assert {pair.texts() for pair in found.pairs} == unseen
    assert len(pairs) > len(unseen) > 0


def test_all_pairs_of_a_file_that_was_read_as_one_split_are_seen(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS[:20]))
    run = Run("tiny-random", tmp_path / "reward", Training(layers=0, bf16=False))
    fit_bradley_terry(load_pairs(str(data), "o", "train"), run)
    with pytest.raises(InputError, match="no pair of the split test"):
        evaluate_reward(tmp_path / "reward", data)
    assert evaluate_reward(tmp_path / "reward", data, "all").accuracy.pairs == 20
