"""Options of training: the adapter's layers and factor, schedules, clipping, trackers."""

import json

import pytest
from safetensors.torch import load_file

import pluralign as pl
from pluralign.core import InputError
from pluralign.learn import engine, phase
from pluralign.learn.phase import Phase
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone

ROWS = [{"prompt": f"{i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
LORA = {"batch_size": 4, "lora_rank": 4, "learning_rate": 0.01}


@pytest.fixture
def pairs():
    return pl.load_pairs(ROWS, objective="agreement", split="train")


def test_an_adapter_has_its_layers_and_factor(pairs, tmp_path):
    training = Training(**LORA, lora_alpha=8, target_modules=("q_proj", "v_proj"))
    pl.fit_policy(pairs, model="tiny-random", training=training, out=tmp_path / "run")
    config = json.loads((tmp_path / "run/adapter/adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (4, 8, 0.0)
    assert set(config["target_modules"]) == {"q_proj", "v_proj"}
    run = json.loads((tmp_path / "run/checkpoints/run.json").read_text())
    assert run["training.lora_alpha"] == 8
    with pytest.raises(InputError, match="holds another run"):
        pl.fit_policy(pairs, model="tiny-random", training=Training(**LORA), out=tmp_path / "run")


def test_a_layer_that_the_model_does_not_have_is_refused(pairs):
    training = Training(**LORA, target_modules=("qq_proj",))
    with pytest.raises(InputError, match="field 'target_modules'"):
        pl.fit_policy(pairs, model="tiny-random", training=training)


def test_runs_of_before_these_options_continue(pairs, tmp_path):
    pl.fit_policy(pairs, model="tiny-random", training=Training(**LORA), out=tmp_path / "run")
    run = json.loads((tmp_path / "run/checkpoints/run.json").read_text())
    named = {name.removeprefix("training.") for name in run if name.startswith("training.")}
    assert named == {
        "epochs", "batch_size", "learning_rate", "weight_decay", "warmup", "lora_rank", "layers",
        "max_length", "bf16",
    }  # fmt: skip


def test_schedule_and_clipping_are_the_trainer_s(tmp_path):
    settings = Phase("x", tmp_path, 8, 4, 2, 1e-3, 0.0, 0, schedule="cosine", max_grad_norm=0.5)
    arguments = engine._arguments(settings, bf16=False)
    assert (arguments.lr_scheduler_type, arguments.max_grad_norm) == ("cosine", 0.5)
    before = engine._arguments(Phase("x", tmp_path, 8, 4, 2, 1e-3, 0.0, 0), bf16=False)
    assert (before.lr_scheduler_type, before.max_grad_norm, before.report_to) == ("linear", 1.0, [])


@pytest.mark.parametrize("schedule", ["linear", "cosine", "cosine_with_restarts", "polynomial", "constant",
                                      "constant_with_warmup", "inverse_sqrt"])  # fmt: skip
def test_schedules_train(pairs, schedule):
    policy = pl.fit_policy(
        pairs, model="tiny-random", training=Training(**LORA, lr_scheduler_type=schedule, max_grad_norm=0.0)
    )
    assert policy.name == "agreement"


@pytest.mark.parametrize("layers", [None, 1])
def test_norms_do_not_decay(pairs, tmp_path, layers):
    """Two steps that shrink what decays to 0.9 * 0.95 of it, and move everything by 0.002 at most."""
    training = Training(
        batch_size=4, layers=layers, learning_rate=1e-3, weight_decay=100.0, warmup=0.0, bf16=False
    )
    pl.fit_reward(pairs, model="tiny-random", training=training, out=tmp_path)
    before = load_backbone("tiny-random").model.state_dict()
    after = load_file(tmp_path / "trunk.safetensors")
    kept = {name for name, value in after.items() if (value - before[name]).abs().max() < 0.003}
    assert kept == {name for name in after if "norm" in name}
    assert "model.norm.weight" in kept


def test_losses_are_reported_to_tensorboard(pairs, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    training = Training(**LORA, report_to=("tensorboard",))
    policy = tmp_path / "run"
    pl.fit_policy(pairs, model="tiny-random", training=training, out=policy)
    (file,) = (policy / "checkpoints").rglob("events.out.tfevents.*")
    events = accumulator.EventAccumulator(str(file.parent))
    events.Reload()
    curve = json.loads((policy / "card.json").read_text())["figures"]["curve"]
    found = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert found == [(point["step"], pytest.approx(point["loss"])) for point in curve]
    assert "train/learning_rate" in events.Tags()["scalars"]


def test_a_missing_tracker_is_a_line_before_anything_is_written(pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(phase, "find_spec", lambda name: None)
    training = Training(**LORA, report_to=("wandb",))
    with pytest.raises(InputError, match="wandb is not installed: pip install wandb"):
        pl.fit_policy(pairs, model="tiny-random", training=training, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "float16"), ("load_in", "8bit"), ("lr_scheduler_type", "cosinus"), ("max_grad_norm", -1.0),
        ("report_to", ("mlflow",)), ("report_to", "tensorboard"), ("target_modules", "q_proj"),
        ("lora_alpha", -1.0), ("lora_alpha", "8"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_by_name(field, value):
    with pytest.raises(InputError, match=f"field '{field}'"):
        Training(lora_rank=4, **{field: value})


@pytest.mark.parametrize(("field", "value"), [("lora_alpha", 8.0), ("target_modules", ("q_proj",))])
def test_options_of_adapters_need_an_adapter(field, value):
    with pytest.raises(InputError, match="give lora_rank"):
        Training(**{field: value})
