"""The statistics of the experiment on ethical theories: curve, criterion, kappa over scenes, ties."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pluralign.core import Annotation, Comparison, Decision, Segment, Step
from pluralign.core.preference import Preference

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

from ethical_theories_lib.criterion import ALL, compare_with_references, paired  # noqa: E402
from ethical_theories_lib.curve import fit_curve, places  # noqa: E402
from ethical_theories_lib.games import open_met_game  # noqa: E402
from ethical_theories_lib.mutual import kappa_over_scenes  # noqa: E402
from ethical_theories_lib.trainings import mean_and_sigma, within_uncertainty  # noqa: E402

from pluralign.games.open import open_story  # noqa: E402

INK = ROOT / "tests" / "games" / "ink_stories"


def test_paired_differences_by_hand() -> None:
    found = paired({"a": [0.1, 0.3], "b": [-0.2, 0.0]})
    # Mean 0.2 with s = 0.1414, n = 2: half = t(1) * 0.1.
    half = stats.t.ppf(0.975, 1) * 0.1
    assert found["a"] == pytest.approx({"mean": 0.2, "low": 0.2 - half, "high": 0.2 + half, "n": 2})
    # Pooled variance 0.02 over two stories of two runs: standard error sqrt(0.02 * (1/2 + 1/2)) / 2.
    half = stats.t.ppf(0.975, 2) * np.sqrt(0.02) / 2
    assert found[ALL] == pytest.approx({"mean": 0.05, "low": 0.05 - half, "high": 0.05 + half, "n": 4})


def test_an_agent_without_values_is_not_below_itself() -> None:
    def run(harm: float, coins: float) -> dict[str, Any]:
        violations = {"random": 10.0, "BC": 9.0, "theory": harm, "coin flips": coins}
        return {
            "alone": {name: {"violations": value} for name, value in violations.items()},
            "lines": {name: {"spearman": -1.0} for name in ("theory", "coin flips")},
        }

    found = compare_with_references({"a": [run(4.0, 10.0), run(5.0, 11.0)], "b": [run(6.0, 9.0)]})
    assert found["coin flips"]["theory"]["a"]["mean"] == pytest.approx(-0.6)
    assert found["BC"]["coin flips"]["b"]["mean"] == pytest.approx(0.0)
    assert "coin flips" not in found["coin flips"]
    assert found["spearman"]["coin flips"] == {"met": 3, "runs": 3}


def planted(accuracy: float, violations: float, name: str = "planted 70%") -> dict[str, Any]:
    return {"rater": name, "accuracy": accuracy, "violations": violations, "random": 2.0}


def test_raters_on_a_curve_of_planted_errors() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat([0.5, 0.6, 0.7, 0.8, 0.9], 8)
    y = 2 * (1.5 - x) + rng.normal(0, 0.1, len(x))
    rows = [planted(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    curve = fit_curve(rows)
    assert curve.spread == pytest.approx(0.05, rel=0.3)
    mean, low, high = curve.predict(np.array([0.65]))
    assert mean[0] == pytest.approx(0.85, abs=0.03)
    # One more agent: a little more than 1.96 standard deviations to each side.
    assert 1.9 < (high[0] - low[0]) / 2 / curve.spread < 2.3
    far = [planted(1.0, 50.0, "planted 100%"), planted(0.65, 1.7, "on"), planted(0.65, 2.6, "off")]
    found = places(rows + far)
    assert (found["on"]["inside"], found["off"]["above"], found["off"]["inside"]) == (1, 1, 0)


def label(decision: Decision, answer: Preference) -> Annotation:
    options = [Segment(f"option-{decision.key}", i, (Step(decision, i),)) for i in (0, 1)]
    return Annotation(Comparison(*options), "right", "rater", answer)


def test_kappa_resamples_scenes() -> None:
    decisions = [Decision(f"Page {i}", ("a", "b")) for i in range(40)]
    one = [label(d, "first" if i % 2 else "second") for i, d in enumerate(decisions)]
    other = [label(d, "first" if i % 4 else "second") for i, d in enumerate(decisions)]
    apart = {d.key: str(i) for i, d in enumerate(decisions)}
    few = {d.key: str(i // 10) for i, d in enumerate(decisions)}
    found = kappa_over_scenes(one, other, apart)
    # Observed 3/4, expected (1/2)(3/4) + (1/2)(1/4) = 1/2.
    assert found["kappa"] == pytest.approx(0.5)
    assert found["low"] < 0.4
    assert found["high"] > 0.6
    assert found["scenes"] == 40
    together = kappa_over_scenes(one, other, few)
    assert together["scenes"] == 4
    assert together["kappa"] == pytest.approx(0.5)


def test_ties_within_the_uncertainty_of_a_difference() -> None:
    assert within_uncertainty(1.0, 0.6, (0.3, 0.4)) == "tie"
    assert within_uncertainty(1.0, 0.4, (0.3, 0.4)) == "first"
    assert within_uncertainty(0.4, 1.0, (0.3, 0.4)) == "second"
    assert within_uncertainty(1.0, 1.0, (0.0, 0.0)) == "tie"


def test_trainings_are_compared_without_their_origins_and_units() -> None:
    one = {"a": [1.0, 2.0, 4.0], "b": [0.0, -1.0]}
    same = {key: [3 * value + 7 for value in own] for key, own in one.items()}
    means, sigmas = mean_and_sigma([one, same])
    assert sigmas["a"] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert sum(means["a"]) + sum(means["b"]) == pytest.approx(0.0, abs=1e-12)
    other = {**one, "b": [0.0, 5.0]}
    assert mean_and_sigma([one, other])[1]["b"][1] > 0.5


def test_options_of_met_decisions_are_all_tried() -> None:
    game = open_met_game("toll", open_story(str(INK / "toll.json")), episodes=5)
    assert len(game.known) == sum(len(decision.options) for decision in game.decisions)
    play = open_story(str(INK / "toll.json")).make_game()
    play.reset(0)
    assert play.decision is not None
    assert play.decision == game.decisions[0]
    for trajectory in game.known[: len(play.decision.options)]:
        (step,) = trajectory.steps
        play.reset(0)
        assert dict(step.counts) == dict(play.choose(step.action))
