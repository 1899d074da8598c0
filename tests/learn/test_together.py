"""Learners from listed options in several processes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parent / "train_together.py"


@pytest.mark.parametrize("method", ["bc", "cpl", "q"])
def test_two_processes_learn_what_one_learns(method, forks, tmp_path):
    done = forks.run(SCRIPT, method, tmp_path / "one")
    assert done.returncode == 0, done.stderr
    both = forks.run_together(SCRIPT, method, tmp_path / "two")
    assert all(process.returncode == 0 for process in both), both
    if method != "q":
        # Not the weights: Adam makes a step even of those that no probability depends on, by rounding.
        one, *two = (torch.tensor(json.loads(process.stdout)) for process in (done, *both))
        for own in two:
            torch.testing.assert_close(own, one, atol=1e-5, rtol=0)
        return
    one, two = (load_file(tmp_path / run / "head.safetensors") for run in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4, msg=name)
