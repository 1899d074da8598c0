"""One measurement of `training.py`: steps of one side, pluralign's or TRL's, in this process."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from devices import forget_memory, on_gpu, peak_memory, seconds

from pluralign.core import PreferencePair
from pluralign.data.load import load_pairs
from pluralign.data.text_pairs import to_trl_rows
from pluralign.learn.texts.precision import is_mixed

LEARNING_RATE = 1e-5


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        harmless: File of HH-RLHF's harmless pairs.
        ethics: File of ETHICS utilitarianism as pairs.
        model: Base model.
        pairs: Number of rows per step.
        steps: Number of timed steps per measurement.
        warm_up: Number of steps before them.
        turns: Number of measurements of each side.
        cases: Cases to measure: bt-harmless, dpo-harmless, bt-ethics.
        max_length: Largest number of tokens of a prompt and a completion.
        gradient_checkpointing: Whether both sides use gradient checkpointing (TRL's default is True: less
            memory, a third slower).
        token_budget: Largest number of tokens of a forest, on pluralign's side; results do not depend on it.
        lora_rank: Rank of a LoRA adapter on both sides; 0 trains all weights.
        dtype: Floating-point type of a trunk under an adapter, and of the matrix products.
        load_in: Format of the trunk's quantised weights: 4bit.
        cpu_seconds: Whether to count CPU seconds instead of seconds, on machines with other load.
        out: JSON output file of the figures.
        child: Measurement of a child process (internal).
    """

    harmless: Path
    ethics: Path | None = None
    model: str = "smollm2-135m"
    pairs: int = 8
    steps: int = 3
    warm_up: int = 1
    turns: int = 2
    cases: tuple[str, ...] = ("bt-harmless", "dpo-harmless", "bt-ethics")
    max_length: int = 512
    gradient_checkpointing: bool = False
    token_budget: int = 2048
    lora_rank: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    load_in: Literal["4bit"] | None = None
    cpu_seconds: bool = False
    out: Path | None = None
    child: str = ""


def measure(side: str, case: str, settings: Settings) -> dict[str, Any]:
    """Figures of one side: useful tokens per second, peak memory, losses."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    pairs = _rows(case, settings)
    run = {"pluralign": _run_pluralign, "trl": _run_trl}[side]
    forget_memory()
    with tempfile.TemporaryDirectory() as folder:
        starts, losses, tokens, parameters, memory = run(case, pairs, settings, Path(folder))
    times = [b - a for a, b in pairwise(starts[settings.warm_up :])]
    useful = tokens[settings.warm_up : settings.warm_up + len(times)]
    return {
        "tokens_per_second": sum(useful) / sum(times),
        "memory": memory,
        "losses": losses,
        "tokens": useful,
        "seconds": times,
        # Frozen weights have no gradient; checkpointed layers run once more.
        "flops_per_token": (4 if settings.lora_rank else 6) * parameters
        + (2 * parameters if settings.gradient_checkpointing else 0),
    }


def _clock(settings: Settings) -> float:
    return time.process_time() if settings.cpu_seconds else seconds()


def _rows(case: str, settings: Settings) -> list[PreferencePair]:
    """Rows that fit the length limit on both sides; TRL leaves out longer ones, pluralign truncates their
    prompts."""
    from pluralign.lm.backbone import load_tokenizer

    file = settings.ethics if case.endswith("ethics") else settings.harmless
    if file is None:
        sys.exit(f"{case} needs --ethics")
    tokenizer = load_tokenizer(settings.model)
    kept: list[PreferencePair] = []
    needed = settings.pairs * (settings.steps + settings.warm_up + 1)
    for pair in load_pairs(file, case):
        decision = pair.chosen.steps[0].decision
        texts = [decision.prompt + option for option in decision.options]
        if max(len(tokenizer(text)["input_ids"]) for text in texts) < settings.max_length:
            kept.append(pair)
        if len(kept) == needed:
            return kept
    sys.exit(f"{file} has fewer than {needed} rows that fit")


def _run_pluralign(case: str, pairs: list[PreferencePair], settings: Settings, folder: Path) -> Any:
    from dataclasses import replace

    from pluralign.learn import engine
    from pluralign.learn.phase import Phase
    from pluralign.learn.texts.log_probs import reference_log_probs
    from pluralign.learn.texts.own_losses import over_labels
    from pluralign.learn.texts.policies import PreferenceLoss
    from pluralign.learn.texts.rewards import PairRewardLoss, seeded_head
    from pluralign.learn.texts.run import Run
    from pluralign.learn.texts.session import Session
    from pluralign.learn.texts.training import ForestLoss
    from pluralign.learn.texts.training_options import Training
    from pluralign.losses import bradley_terry, dpo
    from pluralign.rewards.heads import HeadShape

    engine._CHECKPOINTS = 1  # no intermediate checkpoints, as on TRL's side
    training = Training(
        batch_size=settings.pairs, learning_rate=LEARNING_RATE, warmup=0, max_length=settings.max_length,
        token_budget=settings.token_budget, bf16=settings.dtype == "bfloat16",
        lora_rank=settings.lora_rank, load_in=settings.load_in,
        dtype=settings.dtype if settings.lora_rank else "auto",
        gradient_checkpointing=settings.gradient_checkpointing,
    )  # fmt: skip
    direct = case.startswith("dpo")
    run = Run(settings.model, folder, training)
    session = Session(case, run, {}, [replace(p, split="train") for p in pairs], vocabulary=direct)
    if direct:
        known = reference_log_probs(session, session.data, folder / "checkpoints" / "reference.safetensors")
        objective: Any = PreferenceLoss(dpo, known)
    else:
        head = seeded_head(session.backbone.hidden_size, HeadShape(), 0)
        objective = PairRewardLoss(
            head,
            lambda c, r, b: over_labels(
                lambda: bradley_terry(c.mean, r.mean), lambda: bradley_terry(r.mean, c.mean), b
            ),
        )
    module = ForestLoss(session.trunk, objective, session.data, training.token_budget)
    starts: list[float] = []
    losses: list[float] = []
    parts = module.parts

    def begun(rows: torch.Tensor) -> Any:
        starts.append(_clock(settings))
        losses.append(0.0)
        return parts(rows)

    def add(_m: Any, _i: Any, output: dict[str, torch.Tensor]) -> None:
        losses[-1] += float(output["loss"].detach())

    module.parts = begun
    module.register_forward_hook(add)
    steps = settings.steps + settings.warm_up + 1
    phase = Phase(case, folder / "t", len(pairs), steps, settings.pairs, LEARNING_RATE, 0.0, 0,
                  bf16=is_mixed(training))  # fmt: skip
    engine.train_phase(module, phase)
    memory = peak_memory()
    order = list(engine.Schedule(len(pairs), steps * settings.pairs, 0))
    tokens = [session.data.size(int(row)) for row in order]
    count = settings.pairs
    return (
        starts,
        losses,
        [sum(tokens[i : i + count]) for i in range(0, len(tokens), count)],
        _trunk_parameters(settings),
        memory,
    )


def _trunk_parameters(settings: Settings) -> int:
    """Number of the trunk's weights in matrix products."""
    from transformers import AutoConfig, AutoModelForCausalLM

    configs: Any = AutoConfig
    models: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = models.from_config(configs.from_pretrained(_folder(settings)))
    return sum(p.numel() for name, p in model.model.named_parameters() if "embed" not in name)


def _folder(settings: Settings) -> Any:
    from pluralign.lm.pretrained import SMOLLM2, smollm2_folder

    return smollm2_folder() if settings.model == SMOLLM2 else settings.model


def _run_trl(case: str, pairs: list[PreferencePair], settings: Settings, folder: Path) -> Any:
    import datasets
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

    from pluralign.learn.engine import Schedule
    from pluralign.learn.texts.data import encode_completion_pairs
    from pluralign.learn.texts.rewards import seeded_head
    from pluralign.lm.completion_trees import CompletionReader
    from pluralign.rewards.heads import HeadShape

    steps = settings.steps + settings.warm_up + 1
    order = [int(row) for row in Schedule(len(pairs), steps * settings.pairs, 0)]
    rows = datasets.Dataset.from_list([to_trl_rows(pairs)[row] for row in order])
    common: dict[str, Any] = {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": settings.pairs,
        "bf16": settings.dtype == "bfloat16", "use_cpu": not on_gpu(), "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0, "warmup_steps": 0, "max_length": settings.max_length,
        "gradient_checkpointing": settings.gradient_checkpointing, "save_strategy": "no",
        "report_to": "none", "disable_tqdm": True, "train_sampling_strategy": "sequential",
        "logging_steps": 1, "dataloader_pin_memory": False,
    }  # fmt: skip
    direct = case.startswith("dpo")
    model, tokenizer = _trl_model(settings, classifier=not direct)
    parameters = _trunk_parameters(settings)
    data = encode_completion_pairs(pairs, CompletionReader(tokenizer, settings.max_length, quotes=True))
    # Otherwise a classifier would read the token before the end of text.
    tokenizer.pad_token = next(t for t in tokenizer.all_special_tokens if t != tokenizer.eos_token)
    model.config.pad_token_id = tokenizer.pad_token_id
    more: dict[str, Any] = {"train_dataset": rows, "processing_class": tokenizer}
    if settings.lora_rank:
        more["peft_config"] = _lora(settings.lora_rank, classifier=not direct)
    if direct:
        config: Any = DPOConfig(**common, beta=0.1, precompute_ref_log_probs=True)
        trainer: Any = DPOTrainer(model, None, config, **more)
    else:
        with torch.no_grad():
            head = seeded_head(int(model.config.hidden_size), HeadShape(), 0)
            model.score.weight.copy_(head.mean.weight)
        trainer = RewardTrainer(model, RewardConfig(**common), **more)
    starts: list[float] = []
    losses: list[float] = []

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    trainer.add_callback(Log())
    compute = trainer.compute_loss

    def timed(*args: Any, **kwargs: Any) -> Any:
        starts.append(_clock(settings))
        return compute(*args, **kwargs)

    trainer.compute_loss = timed
    trainer.train()
    memory = peak_memory()
    tokens = [data.size(row) for row in order]
    count = settings.pairs
    parts = [sum(tokens[i : i + count]) for i in range(0, len(tokens), count)]
    return starts, losses, parts, parameters, memory


def _trl_model(settings: Settings, *, classifier: bool) -> tuple[Any, Any]:
    """The model as users of TRL load it, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig

    from pluralign.lm.backbone import load_tokenizer

    dtype = getattr(torch, settings.dtype)
    options: dict[str, Any] = {"dtype": dtype if settings.lora_rank else torch.float32}
    if settings.load_in:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )  # fmt: skip
    kind: Any = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    options |= {"num_labels": 1} if classifier else {}
    return kind.from_pretrained(_folder(settings), **options), load_tokenizer(settings.model)


def _lora(rank: int, *, classifier: bool) -> Any:
    from peft import LoraConfig

    more = (
        {"task_type": "SEQ_CLS", "modules_to_save": ["score"]} if classifier else {"task_type": "CAUSAL_LM"}
    )
    kind: Any = LoraConfig
    return kind(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules="all-linear", **more)
