"""Prior values and budgets of samples, on one story and a small made-up data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pluralign.core.files import read_json
from pluralign.steer.budget import Budget, RewardDistribution, StoppingRule

Script = Callable[[str], ModuleType]


def test_returns_are_those_of_uniform_play(script: Script) -> None:
    script("value_priors")
    from value_priors_lib.stories import UniformPlay, budget_errors, fusion_errors

    play = UniformPlay("salt_ledger")
    assert play.values[play.graph.start] == pytest.approx(282.2, abs=0.05)
    values, returns = play.drawn(300, 40, np.random.default_rng(0))
    errors = returns.std(axis=1, ddof=1) / 40**0.5
    gaps = (returns.mean(axis=1) - values) / np.maximum(errors, 1e-9)
    assert np.abs(gaps[errors > 0]).mean() == pytest.approx(0.8, abs=0.1)
    rows = fusion_errors(play, 1, 400)
    assert rows[0]["prior alone"] == 0
    # A prior that is right helps; one that is off by a deviation harms; one that is plainly wrong does not.
    fused = [row["fused, pooled deviation"] for row in rows]
    assert fused[0] < 0.5
    assert fused[3] > 1.3
    assert 1 < fused[5] < 1.15
    (few, _, many) = budget_errors(play, 1, 400)
    assert 4 < few["samples"] < many["samples"] < 16
    assert few["budget"] < few["fused"] < few["mean"]


@pytest.mark.parametrize("distribution", ["normal", "samples"])
def test_replayed_budgets_stop_where_the_built_in_rule_stops(
    script: Script, distribution: RewardDistribution
) -> None:
    script("value_priors")
    from value_priors_lib.samples import _replayed

    rng = np.random.default_rng(0)
    orders = rng.gumbel(size=(3, 20, 12)) + rng.normal(size=(20, 1))
    prior = rng.normal(size=20)
    budget = Budget(4, 12, 0.1, {"r": lambda prompts, texts: [0.0]}, reward_distribution=distribution)
    for values in (None, prior):
        counts, rewards = _replayed(orders, 4, 0.1, distribution, values, trusted=False)
        for k, own in enumerate(orders):
            rule = StoppingRule.measured(budget, [one[:4] for one in own])
            for i, one in enumerate(own):
                known = None if values is None else float(values[i])
                stop = next(n for n in range(4, 13) if not rule.goes_on(one[:n], known))
                assert (counts[k, i], rewards[k, i]) == (stop, one[:stop].max())


def test_the_experiment_runs(script: Script, tmp_path: Path, data: Path, three_layers: str) -> None:
    priors = script("value_priors")
    settings = priors.Settings(
        data, tmp_path / "w", stories=("salt_ledger",), states=40, story_seeds=2, model=three_layers,
        prompts=16, samples=10, tokens=8, qualities=("brief",), seeds=2, value_seeds=1, value_samples=2,
        value_epochs=1, results=tmp_path / "r",
    )  # fmt: skip
    priors.run(settings)
    report = read_json(tmp_path / "r" / "value_priors.json")
    assert len(report["stories"]["salt_ledger"]["fusion"]) == 6
    ranks = report["texts"]["brief"]["ranks"]
    assert list(ranks["accuracy"]) == ["ridge", "length", "value model", "other half of the samples"]
    assert len(ranks["divisions"]["value model"]) == 1
    page = (tmp_path / "r" / "value_priors.md").read_text()
    assert page.count("| 0.05 | 4 | normal | samples and prior |") == 1
    rows = report["texts"]["brief"]["budgets"]
    assert all(row["over normal"]["mean"] == 0 for row in rows if row["rule"] == "normal")
    assert any(row["over normal"]["mean"] for row in rows if row["rule"] == "samples")
