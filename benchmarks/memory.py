"""Memory of training: the estimate of `estimate_memory` compared with what a training takes on a CPU.

    python benchmarks/memory.py

Each case is a random Llama, trained for a step of two full forests in a process of its own. Measured is the
largest resident memory of the process, less what it held after a training of a tiny model: the weights, the
training, and what kernels take for themselves; not Python and the libraries. The C library is asked to give
freed memory back at once; by default it holds back more, in pieces that do not fit what comes next (a fifth
in one case).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import tyro
from random_models import llama_config
from transformers import AutoModelForCausalLM

from pluralign.core import Decision, PreferencePair, Segment, Step
from pluralign.core.files import write_json
from pluralign.learn.texts.memory import estimate_memory
from pluralign.learn.texts.precision import is_mixed, trunk_dtype
from pluralign.learn.texts.training_options import Training

_CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("0.3b", {"token_budget": 512}),
    "lora": ("0.6b", {"token_budget": 1024, "lora_rank": 16}),
    "lora-bf16-checkpointing": (
        "1.0b",
        {"token_budget": 512, "lora_rank": 16, "dtype": "bfloat16", "gradient_checkpointing": True},
    ),
    "lora-bf16": ("1.5b", {"token_budget": 256, "lora_rank": 16, "dtype": "bfloat16"}),
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        cases: Cases to measure: full, lora, lora-bf16-checkpointing, lora-bf16.
        size: Size of the models in place of each case's own, a key of `random_models.SHAPES`.
        tokens: Tokens of a forest in place of each case's own.
        out: JSON output file of the figures.
        child: Case of a child process (internal).
    """

    cases: tuple[str, ...] = tuple(_CASES)
    size: str | None = None
    tokens: int | None = None
    out: Path | None = None
    child: str = ""


def main(settings: Settings) -> None:
    """Measure, and print a table."""
    if settings.child:
        print("RESULT" + json.dumps(_measure(settings.child, settings)))
        return
    figures: dict[str, Any] = {}
    print(f"{'case':24} {'model':6} {'estimate':>9} {'measured':>9}  difference")
    for case in settings.cases:
        size, training = _case(case, settings)
        measured = _in_a_process(case, settings)
        with tempfile.TemporaryDirectory() as folder:
            llama_config(size).save_pretrained(folder)
            estimate = estimate_memory(folder, training, reward=True)
        figures[case] = {"size": size, "measured": measured, "estimate": asdict(estimate)}
        print(
            f"{case:24} {size:6} {estimate.peak / 1e9:6.2f} GB {measured / 1e9:6.2f} GB  "
            f"{100 * (estimate.peak / measured - 1):+.0f} %",
            flush=True,
        )
        if settings.out is not None:
            write_json(settings.out, figures)


def _case(case: str, settings: Settings) -> tuple[str, Training]:
    size, options = _CASES[case]
    options = {**options, "token_budget": settings.tokens or options["token_budget"]}
    return settings.size or size, Training(
        epochs=1, batch_size=4, max_length=options["token_budget"] // 2, warmup=0, **{"bf16": None, **options}
    )


def _in_a_process(case: str, settings: Settings) -> int:
    command = [sys.executable, __file__, "--child", case]
    command += ["--size", settings.size] if settings.size else []
    command += ["--tokens", str(settings.tokens)] if settings.tokens else []
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "131072"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        sys.exit(f"{case} failed (exit code {done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT"))


def _measure(case: str, settings: Settings) -> int:
    from pluralign.lm.tiny import make_tiny_model

    size, training = _case(case, settings)
    _train(make_tiny_model(), training)
    before = psutil.Process().memory_info().rss
    with torch.device("meta"):
        network: Any = AutoModelForCausalLM.from_config(llama_config(size), dtype=trunk_dtype(training))
    # Initial values are drawn in place: a model's own initialisation takes memory of its own.
    network.to_empty(device="cpu")
    network.tie_weights()
    with torch.no_grad():
        for value in network.parameters():
            value.uniform_(-0.02, 0.02)
        fresh = type(network.model.rotary_emb)(network.config)
        network.model.rotary_emb = fresh
    _train(network, training)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _train(network: Any, training: Training) -> None:
    """A step of two full forests, of four pairs."""
    from pluralign.learn.engine import train_phase
    from pluralign.learn.phase import Phase
    from pluralign.learn.texts.data import encode_completion_pairs
    from pluralign.learn.texts.rewards import PairRewardLoss, seeded_head
    from pluralign.learn.texts.training import ForestLoss
    from pluralign.learn.texts.trunk import TunedTrunk
    from pluralign.lm.backbone import make_backbone
    from pluralign.lm.completion_trees import CompletionReader
    from pluralign.lm.tiny import make_tiny_tokenizer
    from pluralign.losses import bradley_terry
    from pluralign.rewards.heads import HeadShape

    tokenizer = make_tiny_tokenizer()
    backbone = make_backbone(network, tokenizer, "random")
    data = encode_completion_pairs(
        _pairs(training.max_length), CompletionReader(tokenizer, training.max_length)
    )
    trunk = TunedTrunk(
        backbone, data.trees, lora_rank=training.lora_rank, layers=None, vocabulary=False, lower=None,
        bf16=is_mixed(training), seed=0, checkpointing=training.gradient_checkpointing,
    )  # fmt: skip
    objective = PairRewardLoss(
        seeded_head(backbone.hidden_size, HeadShape(), 0),
        lambda c, r, b: bradley_terry(c.mean, r.mean, b.margins).mean() * b.share,
    )
    loss = ForestLoss(trunk, objective, data, training.token_budget)
    with tempfile.TemporaryDirectory() as folder:
        phase = Phase("memory", Path(folder), len(data), 2, 4, 1e-5, 0.0, 0, 0.0, is_mixed(training))
        train_phase(loss, phase)


def _pairs(length: int) -> list[PreferencePair]:
    """Pairs of a prompt and two completions, together of about this number of letters."""
    found: list[PreferencePair] = []
    for number in range(4):
        texts = ("a" * (length // 4 - 2), "b" * (length // 4 - 2))
        decision = Decision(f"{number}" + "c" * (length // 2 - 2), texts)
        ends = [Segment(f"{number}-{i}", 0, (Step(decision, i),)) for i in (0, 1)]
        found.append(PreferencePair(*ends, objective="random", split="train"))
    return found


if __name__ == "__main__":
    main(tyro.cli(Settings))
