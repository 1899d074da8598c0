"""The main job, small: killed and continued it ends as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pluralign.evaluate.report.model import read_report

CHILD = """
import sys
from functools import partial
from pathlib import Path
import torch
torch.set_num_threads(1)
from pluralign.collect import drrn_training
from pluralign.workflows import demo, main_job, retraining
from pluralign.options.drrn import DRRNConfig
from pluralign.learn.options.cpl import CPLConfig
out, story = sys.argv[1:]
main_job.cpl_config = retraining.cpl_config = lambda: CPLConfig(steps=60, learning_rate=0.01, batch_size=64)
drrn_training.train_drrn = partial(
    drrn_training.train_drrn, config=DRRNConfig(steps=400, warm_up=100, environments=4)
)
settings = main_job.JobSettings(
    story=story, model="tiny-random", episodes=60, comparisons=300, judged=8,
    play=30, weightings=4, retrained=4,
)
demo.run_job(main_job.MainJob(Path(out), settings))
"""


def start(out: Path, story: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(out), story],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def figures(out: Path) -> dict:
    """The report without what tells the time, which no two runs share."""

    def timeless(value):
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if "seconds" not in k}
        return [timeless(v) for v in value] if isinstance(value, list) else value

    return timeless(json.loads((out / "report.json").read_text()))


@pytest.fixture(scope="module")
def undisturbed(story, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    child = start(out, story)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
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


@pytest.mark.parametrize("stage", ["collect", "judge", "learn"])
def test_a_killed_run_continues_and_ends_the_same(undisturbed, story, tmp_path, stage):
    out = tmp_path / "out"
    child = start(out, story)
    mark = out / ".stages" / f"{stage}.json"
    deadline = time.monotonic() + 200
    while not mark.exists() and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # Some way into the stage after it.
    time.sleep(0.2)
    child.kill()
    child.communicate()
    assert mark.exists()
    assert not (out / "report.json").exists()
    child = start(out, story)
    told, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
    assert "already done" in told
    assert figures(out) == figures(undisturbed)
