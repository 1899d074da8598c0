"""Training of a module with `transformers.Trainer`: exact resumption, finished phases are not repeated."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.core.locks import only_one_in
from pluralign.core.progress import ProgressBar
from pluralign.folders.tensors import read_tensors
from pluralign.learn.phase import Phase
from pluralign.learn.sharding import (
    ShardedLoss,
    check_checkpoint,
    free_replaced,
    plain_afterwards,
    sharding_engine,
)
from pluralign.learn.steps import PartsTrainer, StepLoss
from pluralign.lm.device import default_device
from pluralign.lm.tensors import kept_random_state

_accelerate: Any = import_module("accelerate")
_CURVE_POINTS = 50
_CHECKPOINTS = 10


class Schedule(Dataset[Tensor]):
    """The rows of every step of a phase, in order: a new permutation for each epoch, drawn from the seed.

    The order is fixed before training, so that a resumed run continues exactly where it stopped.
    """

    def __init__(self, examples: int, draws: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        epochs = math.ceil(draws / examples)
        order = torch.cat([torch.randperm(examples, generator=generator) for _ in range(epochs)])
        self._order = order[:draws]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> Tensor:
        return self._order[place]

    def __getitems__(self, places: list[int]) -> Int[Tensor, " batch"]:
        """A whole batch; torch's fetcher calls this."""
        return self._order[places]


@torch.enable_grad()
def train_phase(module: nn.Module, phase: Phase) -> list[dict[str, float]]:
    """Train a module, from its last training checkpoint if there is one.

    If training is interrupted at any point (kill -9 included) and started again, it ends with the same
    weights, bit for bit on a CPU. A finished phase is loaded and not trained again.

    Args:
        module: A `StepLoss`, or a module that maps ``rows`` to ``{"loss"}``; its persistent state is saved.
        phase: Settings of the phase.

    Returns:
        The training curve: ``[{"step", "loss"}]``; each loss is the mean since the previous entry.

    Raises:
        InputError: The module cannot be sharded as accelerate's configuration says, the checkpoint is that
            of another configuration, another process trains in the folder, or training diverged: a loss or a
            trained weight is not finite.
    """
    if phase.steps < 1:
        return []
    alone = only_one_in(phase.folder) if processes().is_main_process else nullcontext()
    with alone, kept_random_state():
        return _train_phase(module, phase)


def _train_phase(module: nn.Module, phase: Phase) -> list[dict[str, float]]:
    with processes().main_process_first():
        _remove_cut_off_checkpoints(phase.folder)
    last = max(_checkpoints(phase.folder), key=_step_of, default=None)
    engine = sharding_engine(accelerators=processes().device.type != "cpu")
    if last is not None:
        check_checkpoint(last, engine)
    loss = module if isinstance(module, StepLoss) else _Whole(module)
    if engine is not None:
        return _train_sharded(loss, phase, last)
    if last is not None and _step_of(last) == phase.steps:
        module.load_state_dict(read_tensors(last / "model.safetensors"), strict=False)
        module.eval()
        return _curve(read_json(last / "trainer_state.json")["log_history"], module)
    trainer = _trainer(loss, module, phase, bf16=phase.bf16)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    module.eval()
    return _curve(trainer.state.log_history, module)


def _train_sharded(loss: StepLoss, phase: Phase, last: Path | None) -> list[dict[str, float]]:
    sharded = ShardedLoss(loss, phase.bf16)
    originals = dict(sharded.named_parameters())
    with plain_afterwards(sharded):
        trainer = _trainer(loss, sharded, phase, bf16=False)
        trainer.add_callback(_Begun(lambda: free_replaced(sharded, originals)))
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
    loss.eval()
    return _curve(trainer.state.log_history, loss)


def _trainer(loss: StepLoss, model: nn.Module, phase: Phase, *, bf16: bool) -> Any:
    trainer: Any = PartsTrainer(
        loss,
        model=model,
        args=_arguments(phase, bf16=bf16),
        train_dataset=Schedule(phase.examples, phase.steps * phase.batch_size, phase.seed),
        data_collator=cast("Any", _collate),
        callbacks=[_ProgressBar(phase.name)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class _Whole(StepLoss):
    """A module whose loss of a step's rows is computed in one pass."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def parts(self, rows: Int[Tensor, " batch"]) -> list[Int[Tensor, " batch"]]:
        """See `StepLoss`."""
        return [rows]


class Processes(Protocol):
    """Processes that train together, as `accelerate.PartialState` describes them to each."""

    num_processes: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        """Whether this is the process that writes files."""
        ...

    def main_process_first(self) -> AbstractContextManager[None]:
        """Enter a block in the main process first; the others wait until it has left the block."""
        ...


def processes() -> Processes:
    """The processes that train together; a single process without a launcher."""
    # Accelerate finds several processes without GPUs only if it is given cpu=True.
    return _accelerate.PartialState(cpu=default_device().type == "cpu")


def _arguments(phase: Phase, *, bf16: bool) -> TrainingArguments:
    device = default_device()
    found = TrainingArguments(
        output_dir=str(phase.folder),
        max_steps=phase.steps,
        per_device_train_batch_size=_share_of_process(phase.batch_size),
        learning_rate=phase.learning_rate,
        weight_decay=phase.weight_decay,
        lr_scheduler_type=phase.schedule,
        max_grad_norm=phase.max_grad_norm,
        warmup_steps=round(phase.warmup * phase.steps),
        bf16=bf16,
        use_cpu=device.type == "cpu",
        train_sampling_strategy="sequential",
        seed=phase.seed,
        save_steps=max(1, phase.steps // _CHECKPOINTS),
        save_total_limit=1,
        logging_steps=max(1, phase.steps // _CURVE_POINTS),
        # It would log another loss instead of one that is not finite.
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        report_to=list(phase.report_to) or "none",
        disable_tqdm=True,
    )
    if device.type == "cuda" and processes().num_processes == 1:
        _on_one_gpu(found, device)
    return found


def _on_one_gpu(arguments: Any, device: torch.device) -> None:
    """Otherwise Trainer trains on the first GPU, with copies of the module on all others."""
    assert arguments.n_gpu, "looked up once, then kept"
    arguments._n_gpu = 1
    if ":" in str(device):  # a number was given
        arguments.__dict__["_setup_devices"] = device


def _share_of_process(batch_size: int) -> int:
    count = processes().num_processes
    if batch_size % count:
        raise InputError(
            f"must be a multiple of the number of processes, {count}; found {batch_size}", field="batch_size"
        )
    return batch_size // count


def _collate(rows: Int[Tensor, " batch"]) -> dict[str, Tensor]:
    return {"rows": rows}


def _curve(history: list[dict[str, float]], module: nn.Module) -> list[dict[str, float]]:
    curve = [{"step": entry["step"], "loss": entry["loss"]} for entry in history if "loss" in entry]
    for entry in curve:
        _require_finite(entry["loss"], int(entry["step"]))
    for name, weight in module.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise InputError(f"training diverged: the weight {name} is not finite; lower the learning rate")
    return curve


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"training diverged: the loss is {loss} at step {step}; lower the learning rate, or another "
            "setting of the method"
        )


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _remove_cut_off_checkpoints(folder: Path) -> None:
    """Remove incomplete checkpoints: Trainer writes its state last, so one without it was cut off."""
    for path in _checkpoints(folder):
        try:
            read_json(path / "trainer_state.json")
        except InputError:
            shutil.rmtree(path)


class _Begun(TrainerCallback):
    """Calls a function when training begins, after the weights were sharded."""

    def __init__(self, begun: Callable[[], None]) -> None:
        self._begun = begun

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._begun()


class _ProgressBar(TrainerCallback):
    """Progress bar on a terminal; no output elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar = ProgressBar(state.max_steps, self._name, unit="step", done=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            _require_finite(logs["loss"], state.global_step)
            self._bar.note(f"loss {logs['loss']:.4g}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()
