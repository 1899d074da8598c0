"""Budgets of samples of rewards that are not normal: warnings, and the samples' own distribution."""

import numpy as np
import pytest
from sample_budgets import PROMPTS, by_prompt, letters, rows, stops_at

from pluralign.steer.budget import Budget, StoppingRule, residual_skewness, residuals
from pluralign.steer.writers import write_completions


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
