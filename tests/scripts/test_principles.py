"""The experiment on principles runs on a tiny model, and its measures are right."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "experiments"))

import principles  # noqa: E402
from moralchoice_lib.data import RULES, read_cases  # noqa: E402
from principles_lib.at_stake import area, labels_of  # noqa: E402
from principles_lib.left_out import against_others, rule_pairs  # noqa: E402
from principles_lib.settings import Settings, chosen_cases  # noqa: E402


def row(number: int, first: dict[str, str], second: dict[str, str]) -> dict[str, str]:
    labels = {
        f"a{i}_{rule}": given.get(rule, "No") for i, given in ((1, first), (2, second)) for rule in RULES
    }
    acts = {"action1": f"I keep the {number}.", "action2": f"I give the {number} back."}
    return {"scenario_id": f"X_{number}", "context": f"Context {number}.", **acts, **labels}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    low = [row(i, {rule: "Yes"}, {}) for i, rule in enumerate(["cheat", "duty", "pain"] * 10)]
    high = [row(100 + i, {"cheat": "Yes"}, {"duty": "Yes"}) for i in range(6)]
    high.append(row(200, {"pain": "No Agreement"}, {"pain": "Yes"}))
    high.append(row(201, {"pain": "No Agreement"}, {}))
    for name, rows in (("low", low), ("high", high)):
        with gzip.open(tmp_path / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(r) + "\n" for r in rows)
    return tmp_path


def test_it_runs_and_writes_its_page(folder: Path, tmp_path: Path) -> None:
    settings = Settings(
        folder, tmp_path / "work", tmp_path, model="tiny-random", every=1, seeds=1, steps=2, judged=4
    )
    report = principles.run(settings)
    assert report["decisions"] == 38
    page = (tmp_path / "principles.md").read_text()
    assert "## Is the rule at stake?" in page
    assert all(f"| {rule.replace('_', ' ')} |" in page for rule in RULES)
    left = report["rule left out"]
    assert left["pairs"]["cheat"] == 16
    assert left["contested"]["cheat"] == left["difference where contested"]["decisions"] == 6
    assert 0 <= report["at stake"]["judge"]["contradictions"] <= 1


def test_labels_and_areas(folder: Path) -> None:
    cases = {case.id: case for case in read_cases(folder, 0)}
    pain = list(RULES).index("pain")
    assert labels_of([cases["X_200"]])[0, pain] == 1
    assert np.isnan(labels_of([cases["X_201"]])[0, pain])
    assert against_others(cases["X_100"], "cheat")
    assert not against_others(cases["X_0"], "cheat")
    assert len(rule_pairs(list(cases.values()))["duty"]) == 16
    labels = np.array([1.0, 0.0, 1.0, np.nan, 0.0])
    assert area(np.array([3.0, 1.0, 2.0, 9.0, 2.0]), labels) == 0.875
    assert np.isnan(area(np.ones(1), np.ones(1)))
    assert len(chosen_cases(Settings(folder))) < len(cases)
