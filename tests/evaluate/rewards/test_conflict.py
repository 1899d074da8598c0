"""Kinds of prompts, by which rewards differ between their samples."""

import numpy as np
import pytest
from json_lines import write

from pluralign.core import InputError
from pluralign.evaluate.rewards.conflict import find_conflict


def conflict(*prompts, **options):
    """Prompts, each with (first rewards, second rewards)."""
    table = {name: [own[k] for own in prompts] for k, name in enumerate(("a", "b"))}
    return find_conflict(table, [f"p{n}" for n in range(len(prompts))], **options)


def test_kinds_of_prompts():
    rng = np.random.default_rng(0)
    line, other = rng.normal(size=(2, 40))
    flat = np.full(40, 3.0)
    found = conflict((line, flat), (flat, line), (line, other), (line, -line), (flat, flat), (line, line))
    assert found.kinds == ("one", "one", "several", "opposed", "none", "several")
    assert found.shares == {"none": 1 / 6, "one": 1 / 3, "several": 1 / 3, "opposed": 1 / 6}
    assert np.isnan(found.volumes[[0, 1, 4]]).all()
    # One sample is best by both; on the anti-diagonal the samples' staircase remains.
    assert found.volumes[5] == pytest.approx(1.0)
    scaled = np.sort((line - line.min()) / np.ptp(line))
    stairs = float((np.diff(scaled) * (1 - scaled[1:])).sum())
    assert found.volumes[3] == pytest.approx(stairs)
    assert stairs < 0.5 < found.volumes[2]
    assert found.correlations[3, 0] == pytest.approx(-1)
    assert np.isnan(found.correlations[0, 0])


def test_a_reward_that_varies_alone():
    rng = np.random.default_rng(1)
    found = conflict(*((rng.normal(size=8), np.ones(8)) for _ in range(20)))
    assert set(found.kinds) <= {"one", "none"}
    assert found.shares["one"] > 0.9
    assert found.volume is None
    assert found.between["b"] == 0


def test_constant_rewards_have_no_correlation_whatever_their_rounding():
    # The mean of three 0.1 is not 0.1, and the gaps from it were perfectly correlated.
    found = conflict(([0.1] * 3, [0.1] * 3), ([0.1] * 3, [0.7] * 3), ([0.1] * 3, [0.1, 0.7, 0.7]))
    assert np.isnan(found.correlations).all()
    assert found.between["a"] == 0
    assert found.kinds == ("none", "none", "one")
    # A small unit is no rounding.
    small = conflict(([1e-15, 3e-15], [3e3, 1e3]), ([2e-15, 1e-15], [1e3, 2e3]))
    assert small.kinds == ("opposed", "opposed")


def test_variance_between_prompts():
    # Two prompts whose means are 10 apart: mean squares are 2 (25 + 25) / 1 = 100 and (2 + 2) / 2 = 2, and
    # the variance between is (100 - 2) / 2 = 49.
    found = conflict(([-1.0, 1.0], [0.0, 1.0]), ([9.0, 11.0], [1.0, 0.0]))
    assert found.between["a"] == pytest.approx(49 / 51)
    assert found.between["b"] == 0
    assert conflict(([-1.0, 1.0], [0.0, 1.0])).between == {"a": 0, "b": 0}


@pytest.mark.parametrize("samples", [2, 4])
def test_chance_is_no_variance_between_prompts(samples):
    """Means of four samples have a quarter of the variance, whatever the prompt."""
    rng = np.random.default_rng(0)
    rows = [(rng.normal(size=samples), rng.normal() + rng.normal(size=samples)) for _ in range(2000)]
    found = conflict(*rows).between
    assert found["a"] < 0.06
    assert found["b"] == pytest.approx(0.5, abs=0.06)


def test_little_deviation_counts_as_none():
    found = conflict(*(([0.0, 1.0], [0.0, 1.0]) for _ in range(3)), ([0.0, 0.4], [1.0, 0.0]))
    assert found.kinds[3] == "one"
    assert conflict(([0.0, 0.4], [1.0, 0.0]), ([0.0, 1.0], [0.0, 1.0]), threshold=0.1).kinds[0] == "opposed"


def test_prompts_that_leave_nothing_do_not_set_the_unit():
    # Most prompts leave next to nothing; it must not count as a difference.
    rng = np.random.default_rng(4)
    little = [tuple(0.02 * rng.normal(size=(2, 16))) for _ in range(15)]
    much = [tuple(rng.normal(size=(2, 16))) for _ in range(5)]
    assert conflict(*little, *much).shares == {"none": 0.75, "one": 0, "several": 0.25, "opposed": 0}


def test_wrong_rewards_are_refused():
    with pytest.raises(InputError, match="two or more objectives"):
        find_conflict({"a": [[1.0, 2.0]]}, ["p"])
    with pytest.raises(InputError, match="two or more samples"):
        conflict(([1.0], [1.0]))
    with pytest.raises(InputError, match="finite"):
        conflict(([1.0, np.nan], [1.0, 2.0]))
    with pytest.raises(InputError, match="above 0"):
        conflict(([1.0, 2.0], [1.0, 2.0]), threshold=0)
    with pytest.raises(InputError, match=r"expected those of 1 prompts, found \[1, 2\]"):
        find_conflict({"a": [[1.0, 2.0]], "b": [[1.0, 2.0]] * 2}, ["p"])


def test_the_command(tmp_path, monkeypatch, capsys):
    import pluralign as pl
    from pluralign.cli import main

    words = [f"{a}{b}" for a in "abcd" for b in "efgh"]
    for name, (good, bad) in {"lively": ("!", "."), "calm": (".", "!")}.items():
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}{good}", "rejected": f" {w}{bad}"} for w in words]
        pl.fit_reward(pl.load_pairs(rows, name), model="tiny-random", out=tmp_path / name)
    draws = [{"prompt": f"Say {w}:", "completion": f" {w}{end}"} for w in words for end in ("!", ".", "?")]
    write(tmp_path / "draws.jsonl", draws)
    given = [f"{name}={tmp_path / name}" for name in ("lively", "calm")]
    files = ["--completions", str(tmp_path / "draws.jsonl"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "conflict", *files, "--rewards", *given])
    assert not ended.value.code
    assert "16 prompts" in capsys.readouterr().out
    assert (tmp_path / "out" / "conflict.json").exists()
    assert (tmp_path / "out" / "conflict.svg").stat().st_size > 1000
