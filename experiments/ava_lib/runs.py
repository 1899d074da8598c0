"""One training run with its accuracy, stored as one file, so that processes can share the work."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from pluralign.core import InputError, PreferencePair
from pluralign.core.files import read_json, write_json
from pluralign.learn.texts.ava import AVAConfig, fit_ava_d, fit_ava_p
from pluralign.learn.texts.data import encode_completion_pairs
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.rewards import fit_bradley_terry, fit_bt_variance, fit_preference_transformer
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training import row_rewards
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.trunk import LowerStates, TunedTrunk
from pluralign.lm.completion_trees import CompletionReader
from pluralign.losses.bayesian_irl import expected_return_loss, literal_expected_return_loss
from pluralign.losses.likelihood import clamped_negative, literal_negative, unlikelihood
from pluralign.rewards.heads import RewardHead
from pluralign.rewards.tqr import TQRShape

PLAIN = {
    "Bradley-Terry": fit_bradley_terry,
    "learned-variance BT": fit_bt_variance,
    "Preference Transformer": fit_preference_transformer,
}
SWITCHES: dict[str, dict[str, Any]] = {
    "AVA-p": {},
    "AVA-p w/o rwt": {"tqr": {"reward_weights": False}},
    "AVA-p w/o neg": {"neg": False},
    "AVA-p w/o irl": {"irl": False},
    "AVA-p w/o cer": {"cer": False},
    "AVA-p w/o ptq": {"tqr": {"pretrained_q": False}},
}
FUNCTIONS = {
    f.__name__: f
    for f in (
        unlikelihood, clamped_negative, literal_negative, expected_return_loss, literal_expected_return_loss,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One training run.

    Args:
        key: Name of the run, a file name.
        dataset: Data set.
        method: Method, a row of the table.
        fold: Test fold; -1 is the development data.
        seed: Random seed of weights and data order.
        training: Fields of `Training`.
        ava: Fields of `AVAConfig`, with ``tqr`` as a mapping, and ``negative`` and ``expected_return`` by
            name.
    """

    key: str
    dataset: str
    method: str
    fold: int
    seed: int
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ava: Mapping[str, Any] = field(default_factory=dict[str, Any])


def claim(folder: Path, task: Task) -> bool:
    """Whether this process should run the task: it is neither finished nor started by another living
    process."""
    if (folder / f"{task.key}.json").exists():
        return False
    lock = folder / f"{task.key}.lock"
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        owner = lock.read_text()
        if not owner or _alive(int(owner)):
            return False
    lock.write_text(str(os.getpid()))
    return True


def run(
    task: Task, train: Sequence[PreferencePair], test: Sequence[PreferencePair], *, model: str,
    tokenizer: PreTrainedTokenizerBase, folder: Path, lower: LowerStates | None, families: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    """Train and test; return the figures, which are also written to ``folder``.

    Args:
        task: Task to run.
        train: Training pairs.
        test: Test pairs.
        model: Base model.
        tokenizer: Tokenizer of the model.
        folder: Folder of the task files.
        lower: Hidden states of the frozen part of the trunk.
        families: Number of each test pair's family.
    """
    training = Training(**task.training)
    measured: dict[str, Any] = {}

    def measure(trunk: TunedTrunk, head: RewardHead) -> dict[str, Any]:
        reader = CompletionReader(tokenizer, training.max_length)
        data = encode_completion_pairs(test, reader)
        rewards = row_rewards(trunk, head, data, token_budget=training.token_budget, bf16=is_mixed(training))
        margins = (rewards[:, 0] - rewards[:, 1]).double()
        right = (margins > 0).double() + 0.5 * (margins == 0).double()
        scale = margins.std().clamp(min=1e-9)
        measured.update(
            accuracy=float(right.mean()),
            log_loss=float(torch.nn.functional.softplus(-margins).mean()),
            scaled_log_loss=float(torch.nn.functional.softplus(-margins / scale).mean()),
            right="".join("1" if r == 1 else "0" if r == 0 else "=" for r in right.tolist()),
        )
        return {}

    out = folder / f"{task.key}.run"
    try:
        model_run = Run(model, out, training, task.seed, lower=lower, measure=measure)
        learned = _fit(task, train, model_run)
        curve = learned.card.figures["curve"]
    finally:
        shutil.rmtree(out, ignore_errors=True)
    result = {
        "task": {**task.__dict__}, "model": model, "pairs": len(train), **measured,
        "families": list(families),
        "last_loss": curve[-1]["loss"] if curve else math.nan, "seconds": learned.card.figures["seconds"],
    }  # fmt: skip
    write_json(folder / f"{task.key}.json", result)
    (folder / f"{task.key}.lock").unlink(missing_ok=True)
    return result


def results(folder: Path) -> list[dict[str, Any]]:
    """Figures of all finished tasks."""
    return [read_json(path) for path in sorted(folder.glob("*.json"))]


def restore(folder: Path, published: Path, model: str, families: Callable[[Task], Sequence[int]]) -> None:
    """Write the files of tasks that another working folder finished, from the results that it published.

    Args:
        folder: Folder of the task files; what is there stays.
        published: File of the results.
        model: Base model; runs of another one are not restored.
        families: Function from a task to the number of each test pair's family, which results do not contain.

    Raises:
        InputError: The runs have another number of test pairs.
    """
    found = read_json(published) if published.is_file() else {}
    for run in (*found.get("runs", []), *found.get("full", [])):
        task = Task(**run["task"])
        path = folder / f"{task.key}.json"
        # The first results were of this model, and do not name it.
        if path.exists() or run.get("model", "smollm2-135m") != model:
            continue
        known = families(task) if "right" in run else []
        if len(known) != len(run.get("right", "")):
            raise InputError(
                f"{task.key} has {len(run['right'])} test pairs, the data {len(known)}", path=published
            )
        write_json(path, {**run, "families": list(known)})


def _fit(task: Task, train: Sequence[PreferencePair], model_run: Run) -> Any:
    if task.method in PLAIN:
        return PLAIN[task.method](train, model_run)
    fields = dict(task.ava)
    functions = {
        name: FUNCTIONS[fields.pop(name)] for name in ("negative", "expected_return") if name in fields
    }
    switches = SWITCHES.get(task.method, {})
    tqr = TQRShape(**{**fields.pop("tqr", {}), **switches.get("tqr", {})})
    config = replace(AVAConfig(tqr=tqr, **fields), **{k: v for k, v in switches.items() if k != "tqr"})
    if task.method == "AVA-d":
        return fit_ava_d(train, model_run, config)
    return fit_ava_p(train, model_run, config, **functions)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True
