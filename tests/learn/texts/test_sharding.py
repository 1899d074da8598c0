"""Training under FSDP2 gives what one process gives; what does not work there is refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from planted import LEARNERS, pairs
from safetensors.torch import load_file
from shard_on_cpu import RUNS

from pluralign.core import InputError
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.engine import train_phase
from pluralign.learn.phase import Phase
from pluralign.learn.sharding import check_checkpoint, uses_fsdp
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.rewards.reward_model import load_reward_model

HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[3] / "examples" / "accelerate"


def _fsdp():
    """The environment that accelerate launch makes from the example's configuration."""
    config = yaml.safe_load((EXAMPLES / "fsdp2.yaml").read_text())
    named = {key.upper(): str(value) for key, value in config["fsdp_config"].items()}
    return {**named, "ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": config["mixed_precision"]}


def _sharded(out, kill_at, port):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port),
        str(HERE / "shard_on_cpu.py"), str(out), str(kill_at),
    ]  # fmt: skip
    environment = {**os.environ, **_fsdp(), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_fsdp_killed_and_resumed_gives_what_one_process_gives(tmp_path):
    killed = _sharded(tmp_path / "two", 13, 29519)
    assert killed.returncode != 0
    assert not (tmp_path / "two" / "dpo" / "card.json").exists()
    resumed = _sharded(tmp_path / "two", 0, 29521)
    assert resumed.returncode == 0, resumed.stderr
    for method, settings in RUNS.items():
        one, two = tmp_path / "one" / method, tmp_path / "two" / method
        training = Training(**{"epochs": 2, "learning_rate": 3e-3, "bf16": False, **settings})
        LEARNERS[method](pairs(48), Run("tiny-random", one, training))
        curves = [[entry["loss"] for entry in load_card(folder).figures["curve"]] for folder in (one, two)]
        assert curves[1] == pytest.approx(curves[0], abs=1e-5)
        names = [
            path.relative_to(one) for path in one.glob("**/*.safetensors") if "checkpoints" not in str(path)
        ]
        assert names
        for name in names:
            known, found = load_file(one / name), load_file(two / name)
            assert known.keys() == found.keys()
            for key, value in known.items():
                torch.testing.assert_close(found[key], value, atol=1e-4, rtol=1e-3, msg=key)
    load_reward_model(tmp_path / "two" / "bradley-terry")
    load_language_policy(tmp_path / "two" / "dpo")
    # The last training was not repeated from its beginning.
    forwards = [int(line.split()[1]) for line in resumed.stdout.splitlines() if line.startswith("forwards")]
    assert 0 < max(forwards) < 24


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "distributed_type"),
        ("FSDP_VERSION", "1", "fsdp_version"),
        ("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT", "fsdp_state_dict_type"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "fsdp_cpu_ram_efficient_loading"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", "gradient_accumulation_steps"),
    ],
)
def test_settings_that_do_not_work_are_refused(name, value, field, monkeypatch):
    for key, known in _fsdp().items():
        monkeypatch.setenv(key, known)
    assert uses_fsdp(accelerators=True)
    with pytest.raises(InputError, match="on GPUs only"):
        uses_fsdp(accelerators=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"field '{field}'"):
        uses_fsdp(accelerators=True)


def test_without_a_configuration_nothing_is_sharded():
    assert not uses_fsdp(accelerators=True)


@pytest.mark.parametrize(("entry", "fsdp"), [("pytorch_model_fsdp_0", True), ("model", False)])
def test_checkpoints_are_read_by_what_wrote_them(entry, fsdp, tmp_path):
    (tmp_path / entry).mkdir()
    check_checkpoint(tmp_path, fsdp)
    with pytest.raises(InputError, match="continue with the same"):
        check_checkpoint(tmp_path, not fsdp)


def test_modules_that_cannot_be_sharded_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pluralign.learn.engine.uses_fsdp", lambda accelerators: True)
    phase = Phase("x", tmp_path, 4, 2, 2, 1e-3, 0.0, 0)
    with pytest.raises(InputError, match="does not train under FSDP"):
        train_phase(torch.nn.Linear(2, 2), phase)
