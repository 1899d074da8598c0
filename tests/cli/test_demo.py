"""The main job, small: killed and continued it ends as if nothing had happened."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from pluralign.evaluate.report.model import read_report

SCRIPT = Path(__file__).parent / "run_small_demo.py"


def figures(out: Path) -> dict:
    """The report without what tells the time, which no two runs share."""

    def timeless(value):
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    return timeless(json.loads((out / "report.json").read_text()))


@pytest.fixture(scope="module")
def undisturbed(forks, story, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    ended = forks.run(SCRIPT, out, story)
    assert ended.returncode == 0, ended.stderr
    return out


def test_the_report_has_what_was_asked_for(undisturbed):
    report = json.loads((undisturbed / "report.json").read_text())
    wanted = {"story", "objectives", "policies", "sweep", "exact_front", "hypervolume_ratio", "rater_kappa"}
    assert wanted | {"seconds"} <= set(report)
    assert list(report["policies"])[:4] == ["random", "DRRN", "language model", "BC"]
    for metrics in report["policies"].values():
        assert {"mean", "stderr"} <= set(metrics["violations"])
    assert {"weights", "returns", "stderr", "metrics"} <= set(report["sweep"][0])
    assert [p["weights"]["score"] for p in report["sweep"]] == [0, 0.25, 0.5, 0.75, 1]
    assert [p["weights"]["score"] for p in report["retrained"]] == [0.25, 0.5, 0.75]
    assert len(report["other_sweeps"]["arithmetic mean"]) == 5
    read_back = read_report(undisturbed / "report.json").to_json()
    assert json.loads(json.dumps(read_back)) == report
    page = (undisturbed / "report.html").read_text().replace("http://www.w3.org", "")
    assert "http:" not in page
    assert "https:" not in page


def test_a_run_that_is_killed_in_three_stages_continues_and_ends_the_same(
    undisturbed, forks, other_forks, story, tmp_path
):
    out = tmp_path / "out"
    for stage, processes in (("collect", forks), ("judge", other_forks), ("learn", forks)):
        child = processes.start(SCRIPT, out, story)
        mark = out / ".stages" / f"{stage}.json"
        deadline = time.monotonic() + 200
        while not mark.exists() and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        # Some way into the stage after it.
        time.sleep(0.2)
        child.kill()
        assert child.wait().returncode == -signal.SIGKILL, stage
        assert mark.exists(), stage
        assert not (out / "report.json").exists(), stage
    ended = other_forks.run(SCRIPT, out, story)
    assert ended.returncode == 0, ended.stderr
    assert "already done" in ended.stdout
    assert figures(out) == figures(undisturbed)
