"""kill -9 in the middle, then the same command again: the same weights, bit for bit."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from pluralign.folders.card import load_card

SCRIPT = Path(__file__).parent / "kill_and_resume.py"
KILLED = -signal.SIGKILL


def _run(forks, *jobs):
    done = forks.run(SCRIPT, json.dumps(jobs))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(forks, tmp_path_factory):
    """One whole run, the same run killed in each phase and resumed, and runs that must be refused."""
    folder = tmp_path_factory.mktemp("runs")
    whole, killed = str(folder / "whole"), str(folder / "killed")
    bc_whole, bc_killed = str(folder / "bc_whole"), str(folder / "bc_killed")
    joint_whole, joint_killed = str(folder / "joint_whole"), str(folder / "joint_killed")
    results = _run(
        forks,
        {"out": whole, "method": "cpl-kl"},
        # Of 60 forward passes 24 are the warm-up's; checkpoints are 2 or 3 steps apart.
        {"out": killed, "method": "cpl-kl", "kill_at": 15},
        {"out": killed, "method": "cpl-kl", "kill_at": 30},
        {"out": killed, "method": "cpl-kl"},
        {"out": whole, "method": "cpl-kl"},
        {"out": whole, "method": "cpl"},
        {"out": whole, "method": "cpl-kl", "seed": 1},
        {"out": bc_whole, "method": "bc"},
        {"out": bc_killed, "method": "bc", "kill_at": 50},
        {"out": bc_killed, "method": "bc"},
        {"out": joint_whole, "method": "joint"},
        # A step has two passes in the warm-up, and four after it: held-out pairs pass, too.
        {"out": joint_killed, "method": "joint", "kill_at": 130},
        {"out": joint_killed, "method": "joint"},
    )
    names = (
        "whole first_kill second_kill resumed again other_config other_seed bc bc_killed bc_resumed "
        "joint joint_killed joint_resumed"
    )
    return folder, dict(zip(names.split(), results, strict=True))


def _weights(out):
    return (out / "head.safetensors").read_bytes()


def test_killed_in_both_phases_and_resumed(runs):
    folder, results = runs
    assert results["whole"] == {"status": 0, "forwards": 60}
    assert results["first_kill"]["status"] == results["second_kill"]["status"] == KILLED
    assert results["resumed"]["status"] == 0
    assert results["resumed"]["forwards"] < 36, "training went on where it stopped"
    assert _weights(folder / "killed") == _weights(folder / "whole")


def test_behaviour_cloning_killed_and_resumed(runs):
    folder, results = runs
    assert results["bc_killed"]["status"] == KILLED
    assert results["bc_resumed"]["forwards"] < 60
    assert _weights(folder / "bc_killed") == _weights(folder / "bc_whole")


def test_joint_training_killed_and_resumed(runs):
    folder, results = runs
    assert results["joint"]["status"] == 0
    assert results["joint"]["forwards"] > 180
    assert results["joint_killed"]["status"] == KILLED
    assert results["joint_resumed"]["forwards"] < 120
    for name in ("treasure", "other"):
        whole, resumed = folder / "joint_whole" / name, folder / "joint_killed" / name
        assert _weights(resumed) == _weights(whole)
        figures = [load_card(one).figures["gradient_weight_other"] for one in (whole, resumed)]
        assert figures[0] == figures[1] != 0.5


def test_a_finished_run_is_not_trained_again(runs):
    assert runs[1]["again"] == {"status": 0, "forwards": 0}


def test_another_config_or_seed_is_refused_and_named(runs):
    assert "config.kl was True, is False" in runs[1]["other_config"]["error"]
    assert "seed was 0, is 1" in runs[1]["other_seed"]["error"]


@pytest.mark.slow
def test_a_checkpoint_that_was_cut_off_is_left_out(forks, runs, tmp_path):
    out = tmp_path / "policy"
    assert _run(forks, {"out": str(out), "method": "cpl-kl", "kill_at": 45})[0]["status"] == KILLED
    last = max((out / "checkpoints" / "cpl").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    later = last.with_name("checkpoint-35")
    shutil.copytree(last, later)
    (later / "trainer_state.json").write_text('{"epo')
    (later / "model.safetensors").write_bytes(b"")
    assert _run(forks, {"out": str(out), "method": "cpl-kl"})[0]["status"] == 0
    assert _weights(out) == _weights(runs[0] / "whole")
