"""Samples of prompts until another one is not worth its price."""

import doctest
import json
from statistics import NormalDist

import numpy as np
import pytest

import pluralign as pl
from pluralign.core import InputError
from pluralign.lm.decoding import Decoding
from pluralign.rewards.open import load_reward
from pluralign.steer import budget as budgets
from pluralign.steer import budgeted, prompt_prior
from pluralign.steer.budget import Budget, StoppingRule, residual_skewness, residuals
from pluralign.steer.writers import open_writer, write_completions
from pluralign.steer.writing import Writer

CHAT = [{"role": "user", "content": "hello"}]
PROMPTS = ["Say a:", CHAT, "A third one:", "b", "c"]


def letters(prompts, texts):
    """A reward that differs between samples, with a level of its own for each prompt."""
    return [
        sum(map(ord, text)) % 17 + 5 * len(str(prompt)) for prompt, text in zip(prompts, texts, strict=True)
    ]


def capitals(prompts, texts):
    return [100.0 * sum(letter.isupper() for letter in text) for text in texts]


@pytest.fixture(scope="module")
def writer():
    return open_writer("tiny-random", Decoding(6), dtype="float32")


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
    folder = tmp_path_factory.mktemp("reward") / "reward"
    heads = pl.Training(layers=0, learning_rate=0.1, bf16=False)
    pl.fit_reward(pl.load_pairs(rows, "agreement"), model="tiny-random", training=heads, out=folder)
    return folder


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_prompt(found):
    parts = {}
    for row in found:
        parts.setdefault(json.dumps(row["prompt"]), []).append(row)
    return list(parts.values())


def stops_at(rewards, least, margin, prior=None, variance=0.0):
    """Number of samples by the rule, written out."""
    for count in range(least, len(rewards)):
        mean = np.mean(rewards[:count])
        if prior is not None:
            gap, error = mean - prior, variance / count
            mean = prior + max(0.0, 1 - error / gap**2) * gap
        if max(rewards[:count]) >= mean + margin:
            return count
    return len(rewards)


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


def test_rewards_that_are_far_from_normal_are_reported(writer, tmp_path, caplog):
    def rare(prompts, texts):
        return [float(sum(map(ord, text)) % 4 == 0) for text in texts]

    for rewards, warned in (({"letters": letters}, False), ({"rare": rare}, True)):
        budget = Budget(12, 13, 0.1, rewards)
        write_completions(writer, PROMPTS, tmp_path / "few.jsonl", samples=budget, shown=False)
        assert ("have a skewness of 1." in caplog.text) == warned
    # Two thirds at 0, one third at 3: a skewness of 2^(-1/2) around the mean, of which three samples show
    # 1 / 6^(1/2).
    first = [np.array([0.0, 0.0, 3.0]), np.array([5.0, 5.0, 8.0])]
    assert residual_skewness(first) == pytest.approx(2**-0.5 * 6**0.5)
    assert residual_skewness([np.ones(2), np.zeros(2)]) == 0
    assert residual_skewness([np.array([0.0, 1.0]), np.zeros(2)]) == 0
    # Exponential rewards have a skewness of 2, whatever the number of first samples.
    drawn = np.random.default_rng(0).exponential(size=(100_000, 4))
    for number in (3, 4):
        assert residual_skewness(list(drawn[:, :number])) == pytest.approx(2, abs=0.1)


def test_residuals_have_the_deviation_of_one_sample():
    drawn = np.random.default_rng(0).normal(5.0, 3.0, size=(50_000, 3)) + np.arange(50_000)[:, None]
    gaps = residuals(list(drawn))
    assert gaps.shape == (50_000, 3)
    assert gaps.mean() == pytest.approx(0, abs=1e-9)
    assert (gaps**2).mean() == pytest.approx(9, rel=0.02)


@pytest.mark.parametrize("prior", [None, [30.0, 400.0, 60.0, -500.0, 26.0]])
def test_the_samples_distribution_takes_the_place_of_the_normal_one(writer, tmp_path, caplog, prior):
    write_completions(writer, PROMPTS, tmp_path / "all.jsonl", samples=12, shown=False)
    rewards = [
        letters([one["prompt"] for one in own], [one["completion"] for one in own])
        for own in by_prompt(rows(tmp_path / "all.jsonl"))
    ]
    budget = Budget(4, 12, 0.9, {"letters": letters}, prior=prior, reward_distribution="samples")
    counts = write_completions(writer, PROMPTS, tmp_path / "few.jsonl", samples=budget, shown=False)
    first = np.array([own[:4] for own in rewards], dtype=float)
    gaps = ((first - first.mean(axis=1, keepdims=True)) * (4 / 3) ** 0.5).ravel()
    low, high = gaps.min() - 1, gaps.max()
    for _ in range(200):
        level = (low + high) / 2
        low, high = (level, high) if np.maximum(gaps - level, 0).mean() > 0.9 else (low, level)
    variance = first.var(axis=1, ddof=1).mean()
    given = prior or [None] * 5
    assert counts == [stops_at(own, 4, level, p, variance) for own, p in zip(rewards, given, strict=True)]
    assert min(counts) < 12
    found = rows(tmp_path / "few.jsonl")
    assert {row["reward_distribution"] for row in found} == {"samples"}
    few = int((gaps > level).sum())
    assert f"{few} of 20 first samples are above the reservation value" in caplog.text
    # Another rule is another file.
    other = write_completions(
        writer, PROMPTS, tmp_path / "few.jsonl", samples=Budget(4, 12, 0.9, {"letters": letters}), shown=False
    )
    assert {row["reward_distribution"] for row in rows(tmp_path / "few.jsonl")} == {"normal"}
    assert len(other) == 5


def test_few_samples_above_the_level_are_reported():
    rng = np.random.default_rng(0)
    budget = Budget(4, 12, 0.01, {"r": letters}, reward_distribution="samples")
    for prompts, doubted in ((5, True), (500, False)):
        first = list(rng.exponential(size=(prompts, 4)))
        rule = StoppingRule.measured(budget, first)
        assert ((residuals(first) > rule.margin).sum() < 10) == doubted
        assert (rule.doubts(first) is not None) == doubted
    # Skewness speaks against the normal rule alone.
    normal = StoppingRule.measured(Budget(4, 12, 0.01, {"r": letters}), first)
    assert "a skewness of 2." in (normal.doubts(first) or "")


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


@pytest.mark.parametrize("module", [budgets, prompt_prior])
def test_the_examples_run(module):
    assert doctest.testmod(module).failed == 0
