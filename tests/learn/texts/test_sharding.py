"""Training under FSDP2 and DeepSpeed gives what one process gives; what does not work is refused by name."""

import importlib.util
import signal
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
from pluralign.learn.sharding import check_checkpoint, sharding_engine
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.rewards.reward_model import load_reward_model

HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[3] / "examples" / "accelerate"


def _environment(name):
    """The environment that accelerate launch makes from an example's configuration."""
    config = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    named = {"ACCELERATE_MIXED_PRECISION": config["mixed_precision"]}
    if "fsdp_config" in config:
        named |= {key.upper(): str(value) for key, value in config["fsdp_config"].items()}
        return {**named, "ACCELERATE_USE_FSDP": "true"}
    settings = config["deepspeed_config"]
    return {
        **named,
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(settings["zero_stage"]),
        "ACCELERATE_DEEPSPEED_ZERO3_INIT": str(settings["zero3_init_flag"]).lower(),
        "ACCELERATE_GRADIENT_CLIPPING": settings["gradient_clipping"],
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": str(settings["gradient_accumulation_steps"]),
        "DS_ACCELERATOR": "cpu",
    }


_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed (pip install deepspeed)"
)


@pytest.mark.parametrize(
    "name", ["fsdp2", pytest.param("zero2", marks=_deepspeed), pytest.param("zero3", marks=_deepspeed)]
)
def test_killed_and_resumed_gives_what_one_process_gives(name, forks, tmp_path):
    script, two = HERE / "shard_on_cpu.py", tmp_path / "two"
    killed = forks.run_together(script, two, 13, environment=_environment(name))
    assert any(process.returncode == -signal.SIGKILL for process in killed), killed
    assert not (two / "dpo" / "card.json").exists()
    resumed = forks.run_together(script, two, 0, environment=_environment(name))
    assert all(process.returncode == 0 for process in resumed), resumed
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
    forwards = [
        int(line.split()[1])
        for process in resumed
        for line in process.stdout.splitlines()
        if line.startswith("forwards")
    ]
    assert 0 < max(forwards) < 24


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("FSDP_VERSION", "1", "fsdp_version"),
        ("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT", "fsdp_state_dict_type"),
        ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "fsdp_cpu_ram_efficient_loading"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "true", "fsdp_activation_checkpointing"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", "gradient_accumulation_steps"),
    ],
)
def test_settings_that_do_not_work_are_refused(name, value, field, monkeypatch):
    _check_refused("fsdp2", "FSDP", name, value, field, monkeypatch)


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("ACCELERATE_DEEPSPEED_CONFIG_FILE", "ds.json", "deepspeed_config_file"),
        ("ACCELERATE_DEEPSPEED_ZERO3_INIT", "true", "zero3_init_flag"),
        ("ACCELERATE_GRADIENT_CLIPPING", "1.0", "gradient_clipping"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2", "gradient_accumulation_steps"),
    ],
)
@pytest.mark.parametrize("example", ["zero2", "zero3"])
def test_settings_of_deepspeed_that_do_not_work_are_refused(example, name, value, field, monkeypatch):
    _check_refused(example, "DeepSpeed", name, value, field, monkeypatch)


def _check_refused(example, engine, name, value, field, monkeypatch):
    for key, known in _environment(example).items():
        monkeypatch.setenv(key, known)
    assert sharding_engine(accelerators=True) == engine
    with pytest.raises(InputError, match="on GPUs only"):
        sharding_engine(accelerators=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"field '{field}'"):
        sharding_engine(accelerators=True)


def test_without_a_configuration_nothing_is_sharded():
    assert sharding_engine(accelerators=True) is None


@pytest.mark.parametrize(
    ("entry", "engine"), [("pytorch_model_fsdp_0", "FSDP"), ("global_step7", "DeepSpeed"), ("model", None)]
)
def test_checkpoints_are_read_by_what_wrote_them(entry, engine, tmp_path):
    (tmp_path / entry).mkdir()
    check_checkpoint(tmp_path, engine)
    for other in {"FSDP", "DeepSpeed", None} - {engine}:
        with pytest.raises(InputError, match="continue with the same"):
            check_checkpoint(tmp_path, other)


def test_modules_that_cannot_be_sharded_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pluralign.learn.engine.sharding_engine", lambda accelerators: "FSDP")
    phase = Phase("x", tmp_path, 4, 2, 2, 1e-3, 0.0, 0)
    with pytest.raises(InputError, match="does not train under FSDP"):
        train_phase(torch.nn.Linear(2, 2), phase)
