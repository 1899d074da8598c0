"""The logic of the MoralChoice experiment, on made-up rows; the label counts on the real ones."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from forks import ForkServer

ROOT = Path(__file__).parents[2]
DATA = ROOT / ".." / "shared" / "data" / "moralchoice"
sys.path.insert(0, str(ROOT / "experiments"))

from moralchoice_lib.data import RULES, conflicts, exchange, label_counts, make_trajectories, read_cases  # noqa: E402
from moralchoice_lib.fitting import Settings, assign_splits, fold_of, make_all_pairs  # noqa: E402
from moralchoice_lib.measures import rightness, violation, wilson  # noqa: E402


def row(number: int, first: dict[str, str], second: dict[str, str]) -> dict[str, str]:
    labels = {
        f"a{i}_{rule}": given.get(rule, "No") for i, given in ((1, first), (2, second)) for rule in RULES
    }
    return {
        "scenario_id": f"X_{number}",
        "context": f"Context {number}.",
        "action1": "I keep it.",
        "action2": "I give it back.",
        **labels,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    low = [row(i, {"cheat": "Yes"}, {}) for i in range(40)]
    high = [row(100 + i, {"cheat": "Yes"}, {"duty": "Yes"}) for i in range(19)]
    high.append(row(200, {"pain": "No Agreement"}, {"pain": "Yes"}))
    for name, rows in (("low", low), ("high", high)):
        with gzip.open(tmp_path / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(r) + "\n" for r in rows)
    return tmp_path


def test_labels_are_counted_and_disagreement_is_no_label(folder: Path) -> None:
    cases = read_cases(folder, seed=0)
    counted = label_counts(cases)
    assert len(cases) == 60
    assert 59 in counted["cheat"].values()
    assert sum(counted["pain"].values()) == 60
    assert 1 in counted["pain"].values()
    assert len(conflicts(cases, "cheat", "duty")) == 19


def test_positions_are_shuffled_and_exchanging_them_is_undone_by_doing_it_twice(folder: Path) -> None:
    cases = read_cases(folder, seed=0)
    listed_first = [case.decision.options[0] for case in cases]
    assert 10 < listed_first.count("I keep it.") < 50
    assert exchange(exchange(cases[0])) == cases[0]
    assert exchange(cases[0]).decision.options == cases[0].decision.options[::-1]


def test_rightness_and_violation_by_hand(folder: Path) -> None:
    cases = read_cases(folder, seed=0)[:1]
    guilty = cases[0].decision.options.index("I keep it.")
    log_probs = np.log(np.where(np.arange(2) == guilty, 0.3, 0.7))
    assert rightness([log_probs], cases, "cheat").tolist() == [1.0]
    assert violation([log_probs], cases, "cheat") == pytest.approx([0.3])
    assert np.isnan(rightness([log_probs], cases, "duty")).all()
    found = wilson(8, 10)
    assert (found["low"], found["high"]) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_no_decision_is_learned_from_in_its_own_fold(folder: Path, tmp_path: Path) -> None:
    settings = Settings(data=folder, out=tmp_path / "out")
    cases = read_cases(folder, settings.seed)
    assert len(make_trajectories(cases)) == 120
    pairs = make_all_pairs(cases, settings)["cheat"]
    names = {case.decision.prompt: case.id for case in cases}
    held_out: set[str] = set()
    for fold in range(settings.folds):
        may_see = assign_splits(pairs, names, fold, settings, validate=True)
        learned_from = {names[p.chosen.steps[0].decision.prompt] for p in may_see}
        tested = {name for name in names.values() if fold_of(name, settings.folds, settings.seed) == fold}
        assert learned_from.isdisjoint(tested)
        assert tested.isdisjoint(held_out)
        assert {p.split for p in may_see} == {"train", "validation"}
        held_out |= tested
    assert len(held_out) == 60
    assert {fold_of(f"X_{i}", settings.folds, 0) for i in range(40)} == set(range(settings.folds))


def test_an_absent_folder_is_one_line(forks: ForkServer) -> None:
    ended = forks.run(ROOT / "experiments" / "moralchoice.py", "--data", "nowhere")
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1


def test_the_real_labels() -> None:
    if not DATA.exists():
        pytest.skip("MoralChoice's files are not here")
    counted = label_counts(read_cases(DATA, seed=0))
    assert sorted(counted["death"].values()) == [7, 30, 99, 890]
    assert sorted(counted["duty"].values()) == [12, 29, 363, 622]
