"""Speed of a policy gradient compared with TRL's RLOO: the same model, prompts, batches and optimizer.

    python benchmarks/policy_gradient.py --prompts hh/harmless.jsonl.gz

Requires trl (the extra [rl] or [dev]). Both sides run TRL's loop; `learn rl` draws and scores completions in
forests, TRL's own trainer pads prompts and repeats them. The reward is minus the length. The two sides
alternate, each in this process with a fresh model.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pluralign.data.load import load_prompts
from pluralign.learn.texts.adversarial import reinforce
from pluralign.learn.texts.training_options import Training
from pluralign.lm.decoding import Decoding


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        prompts: File of prompts.
        model: Model before training.
        count: Number of prompts, each once.
        samples: Number of completions of each.
        tokens: Number of new tokens of a completion.
        batch_size: Number of completions of a step.
        lora_rank: LoRA rank.
        turns: Number of measurements of each side.
        bf16: Whether matrix products are in bfloat16.
    """

    prompts: Path
    model: str = "smollm2-135m"
    count: int = 16
    samples: int = 8
    tokens: int = 32
    batch_size: int = 64
    lora_rank: int = 16
    turns: int = 2
    bf16: bool = True


def main(settings: Settings) -> None:
    """Measure both sides in alternation, and print the ratio of their CPU seconds."""
    seconds: dict[str, list[float]] = {"pluralign": [], "trl": []}
    for turn in range(settings.turns):
        for side in ("pluralign", "trl") if turn % 2 == 0 else ("trl", "pluralign"):
            seconds[side].append(measure(side, settings, turn))
            print(f"  {side}: {seconds[side][-1]:.1f} CPU seconds", flush=True)
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    print(f"{ratio:.2f} times TRL's speed, {settings.count} prompts x {settings.samples} completions")


def measure(side: str, settings: Settings, seed: int) -> float:
    """CPU seconds of one pass over the prompts."""
    training = Training(
        batch_size=settings.batch_size, lora_rank=settings.lora_rank, learning_rate=1e-5, bf16=settings.bf16
    )
    policy = reinforce.fresh_policy(settings.model, {}, training, seed)
    prompts = [prompt.text for prompt in load_prompts(settings.prompts, limit=settings.count)]
    if side == "trl":
        reinforce.forest_trainer = lambda: _plain  # pyright: ignore[reportAttributeAccessIssue]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        reinforce.reinforce(
            policy, prompts, _brevity, training=training, samples=settings.samples,
            sampling=Decoding(settings.tokens), seed=seed, folder=Path(folder),
        )  # fmt: skip
    reinforce.forest_trainer = _OURS
    return time.process_time() - started


_OURS = reinforce.forest_trainer


def _plain(backbone: Any, sampling: Any, budget: int, checkpointing: bool, **arguments: Any) -> Any:
    """TRL's own trainer."""
    from trl.trainer.rloo_trainer import RLOOTrainer

    kind: Any = RLOOTrainer
    return kind(backbone.model, processing_class=backbone.tokenizer, **arguments)


def _brevity(prompts: Any, completions: Any) -> list[float]:
    return [-float(len(text)) for text in completions]


if __name__ == "__main__":
    main(tyro.cli(Settings))
