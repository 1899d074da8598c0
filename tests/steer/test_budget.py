"""Samples of prompts until another one is not worth its price."""

from statistics import NormalDist

import numpy as np
import pytest
from sample_budgets import PROMPTS, by_prompt, letters, rows, stops_at

import pluralign as pl
from pluralign.core import InputError
from pluralign.rewards.open import load_reward
from pluralign.steer import budgeted
from pluralign.steer.budget import Budget, StoppingRule
from pluralign.steer.writers import write_completions
from pluralign.steer.writing import Writer


def capitals(prompts, texts):
    return [100.0 * sum(letter.isupper() for letter in text) for text in texts]


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
    folder = tmp_path_factory.mktemp("reward") / "reward"
    heads = pl.Training(layers=0, learning_rate=0.1, bf16=False)
    pl.fit_reward(pl.load_pairs(rows, "agreement"), model="tiny-random", training=heads, out=folder)
    return folder


def margin_of(groups, least, price):
    """z sigma with the expected excess of one sample over it equal to the price, by bisection."""
    sigma = float(np.sqrt(np.mean([np.var(own[:least], ddof=1) for own in groups])))
    normal = NormalDist()
    low, high = -price / sigma - 1, 40.0
    for _ in range(200):
        z = (low + high) / 2
        excess = normal.pdf(z) - z * (1 - normal.cdf(z))
        low, high = (z, high) if excess > price / sigma else (low, z)
    return z * sigma, sigma**2


@pytest.mark.parametrize("price", [0.2, 0.6, 100.0])
def test_samples_are_the_first_ones_up_to_the_reservation_value(writer, tmp_path, price):
    settings = {"seed": 3, "columns": {"by": "tiny"}, "shown": False}
    write_completions(writer, PROMPTS, tmp_path / "all.jsonl", samples=12, **settings)
    every = by_prompt(rows(tmp_path / "all.jsonl"))
    budget = Budget(3, 12, price, {"letters": letters})
    counts = write_completions(writer, PROMPTS, tmp_path / "few.jsonl", samples=budget, **settings)
    rewards = [letters([one["prompt"] for one in own], [one["completion"] for one in own]) for own in every]
    margin, _ = margin_of(rewards, 3, price)
    assert counts == [stops_at(own, 3, margin) for own in rewards]
    assert (len(set(counts)) > 1) == (price < 100)
    for own, whole, known in zip(by_prompt(rows(tmp_path / "few.jsonl")), every, rewards, strict=True):
        assert [row["completion"] for row in own] == [row["completion"] for row in whole[: len(own)]]
        assert [row["sample"] for row in own] == list(range(len(own)))
        assert [row["reward"] for row in own] == known[: len(own)]
        assert [row["best"] for row in own].index(True) == np.argmax(known[: len(own)])
        assert sum(row["best"] for row in own) == 1
        assert {(row["samples_drawn"], row["samples"], row["price"], row["by"]) for row in own} == {
            (len(own), "3..12", price, "tiny")
        }
    assert not list(tmp_path.glob(".*"))


def test_a_prior_value_is_fused_with_the_mean(writer, tmp_path):
    prior = [30.0, 400.0, 60.0, -500.0, 26.0]
    write_completions(writer, PROMPTS, tmp_path / "all.jsonl", samples=10, shown=False)
    every = by_prompt(rows(tmp_path / "all.jsonl"))
    rewards = [letters([one["prompt"] for one in own], [one["completion"] for one in own]) for own in every]
    margin, variance = margin_of(rewards, 2, 0.7)
    for given in (prior, np.array(prior)):
        budget = Budget(2, 10, 0.7, {"letters": letters}, prior=given)
        counts = write_completions(writer, PROMPTS, tmp_path / "few.jsonl", samples=budget, shown=False)
        assert counts == [
            stops_at(own, 2, margin, value, variance) for own, value in zip(rewards, prior, strict=True)
        ]
    rule = StoppingRule(10, 4.0, 1.0)
    # Two samples of mean 8 have an error of 2: of a gap of 4 to the prior, 1 - 2 / 16 is believed.
    assert rule.threshold(np.array([7.0, 9.0]), 4.0) == pytest.approx(4 + 3.5 + 1)
    assert rule.threshold(np.array([7.0, 9.0]), 7.0) == 8.0
    with pytest.raises(InputError, match="2 values of 5 prompts"):
        write_completions(
            writer,
            PROMPTS,
            tmp_path / "no.jsonl",
            samples=Budget(2, 3, 1.0, {"l": letters}, prior=[1.0, 2.0]),
        )


def test_several_rewards_are_scaled_and_weighted(writer, tmp_path):
    weights = {"letters": 0.25, "capitals": 0.75}
    functions = {"letters": letters, "capitals": capitals}
    budget = Budget(4, 9, 0.3, functions, weights)
    write_completions(writer, PROMPTS, tmp_path / "few.jsonl", samples=budget, shown=False)
    parts = by_prompt(rows(tmp_path / "few.jsonl"))
    scales = {}
    for name in weights:
        first = np.array([[row["rewards"][name] for row in own[:4]] for own in parts])
        scales[name] = np.sqrt(first.var(axis=1).mean())
    totals = [
        [sum(w * row["rewards"][name] / scales[name] for name, w in weights.items()) for row in own]
        for own in parts
    ]
    assert [row["reward"] for own in parts for row in own] == pytest.approx(np.concatenate(totals))
    margin, _ = margin_of(totals, 4, 0.3)
    assert all(len(own) == 9 or stops_at(own, 4, margin) == len(own) for own in totals)
    assert parts[0][0]["reward_weights"] == weights
    # A reward of weight 0 is never asked.
    alone = Budget(4, 9, 3.0, {"letters": letters, "no": None.__bool__}, {"letters": 1.0, "no": 0.0})
    write_completions(writer, PROMPTS, tmp_path / "one.jsonl", samples=alone, shown=False)
    assert "rewards" not in rows(tmp_path / "one.jsonl")[0]


def test_an_interrupted_run_continues_with_the_same_samples(writer, reward, tmp_path, monkeypatch):
    budget = Budget(2, 8, 0.001, {"agreement": reward})
    monkeypatch.setattr(budgeted, "_BATCH", 4)
    whole = write_completions(writer, PROMPTS, tmp_path / "whole.jsonl", samples=budget, shown=False)
    assert min(whole) < max(whole)
    found = rows(tmp_path / "whole.jsonl")
    scored = load_reward(reward).score([row["prompt"] for row in found], [row["completion"] for row in found])
    assert [row["reward"] for row in found] == pytest.approx(scored, abs=1e-6)
    drawn = []

    def draw(prompts, seeds):
        if len(drawn) in (1, 4, 9):
            drawn.append(0)
            raise KeyboardInterrupt
        drawn.append(sum(map(len, seeds)))
        return writer.draw(prompts, seeds)

    broken, out = Writer(writer.template, draw, writer.cut), tmp_path / "again.jsonl"
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            write_completions(broken, PROMPTS, out, samples=budget, shown=False)
        # A kill may leave half a row.
        with (tmp_path / ".again.jsonl.partial").open("a") as handle:
            handle.write('{"item": 1, "sam')
    assert not out.exists()
    assert write_completions(broken, PROMPTS, out, samples=budget, shown=False) == whole
    assert sum(drawn) == sum(whole)
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_writers_that_stream_keep_their_columns_and_name_the_prompt(writer, tmp_path):
    refused = []

    def stream(prompts, seeds):
        texts = [own[0] for own in writer.draw(prompts, [[seed] for seed in seeds])]
        for i in reversed(range(len(texts))):
            if prompts[i] in refused:
                raise InputError("refused", row=i + 1)
            yield i, texts[i], {"finish_reason": "stop"}

    streaming = Writer(writer.template, writer.draw, writer.cut, stream)
    budget = Budget(2, 6, 0.5, {"letters": letters})
    for name, one in (("plain", writer), ("streamed", streaming)):
        write_completions(one, PROMPTS, tmp_path / f"{name}.jsonl", samples=budget, shown=False)
    plain, streamed = (rows(tmp_path / f"{name}.jsonl") for name in ("plain", "streamed"))
    assert [row | {"finish_reason": "stop"} for row in plain] == streamed
    refused.append("b")
    with pytest.raises(InputError, match=r"row 4, field 'prompt': refused; .* the same command continues"):
        write_completions(streaming, PROMPTS, tmp_path / "no.jsonl", samples=budget, shown=False)


def test_wrong_budgets_are_refused(writer, tmp_path, reward):
    one = {"letters": letters}
    for message, arguments, more in (
        (r"samples.*begin with 2 or more, found 1\.\.4", (1, 4, 0.1, one), {}),
        (
            r"begin with 3 or more for the dist.*found 2\.\.4",
            (2, 4, 0.1, one),
            {"reward_distribution": "samples"},
        ),
        ("reward_distribution.*one of normal, samples", (2, 4, 0.1, one), {"reward_distribution": "flat"}),
        (r"ascending order, found 4\.\.4", (4, 4, 0.1, one), {}),
        ("price.*above 0 and finite, found 0", (2, 4, 0.0, one), {}),
        ("price.*above 0 and finite, found inf", (2, 4, float("inf"), one), {}),
        ("rewards.*at least one reward", (2, 4, 0.1, {}), {}),
        ("no such folder", (2, 4, 0.1, {"a": "./nowhere"}), {}),
        ("unknown objective 'b'", (2, 4, 0.1, one, {"b": 1.0}), {}),
        ("prior.*does not apply to several", (2, 4, 0.1, {**one, "c": capitals}), {"prior": [1.0]}),
        ("row 2, field 'prior'.*finite", (2, 4, 0.1, one), {"prior": [1.0, float("nan")]}),
    ):
        with pytest.raises(InputError, match=message):
            Budget(*arguments, **more)
    for rewards, message in (
        ({"a": lambda prompts, texts: [1.0]}, r"'a' gave \(1,\) rewards of 10 texts"),
        ({"a": lambda prompts, texts: [float("nan")] * len(texts)}, "'a' gave a completion the reward nan"),
        ({"a": lambda prompts, texts: [1.0] * len(texts), **one}, "'a' gives all .* the same reward"),
    ):
        with pytest.raises(InputError, match=message):
            write_completions(writer, PROMPTS, tmp_path / "f.jsonl", samples=Budget(2, 4, 1.0, rewards))
    with pytest.raises(InputError, match="at least one prompt"):
        write_completions(writer, [], tmp_path / "f.jsonl", samples=Budget(2, 4, 1.0, one))
    assert not (tmp_path / "f.jsonl").exists()
    # Equal rewards leave nothing to gain.
    equal = Budget(2, 4, 1.0, {"a": lambda prompts, texts: [1.0] * len(texts)})
    assert write_completions(writer, PROMPTS, tmp_path / "f.jsonl", samples=equal, shown=False) == [2] * 5
