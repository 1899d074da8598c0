"""Training beside TRL, and decoding of mixtures beside one merged policy, on one GPU, as one command.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --tiny --out cpu.json

The first command is for one GPU with 80 GB, and is made to end within eight minutes: no measurement begins
after ``--minutes`` (7), and what was left out is listed. The second one takes a tiny random model through the
same steps in less than a minute; its figures mean nothing.

Training: made-up pairs of ``--tokens`` tokens (2,048; the prompt and one completion), all weights, bfloat16
mixed precision, by pluralign and by TRL with the same rows, order, optimizer and settings
(`training_sides.py`). Decoding: greedy mixtures of random LoRA adapters of rank 16 by pluralign's decoder,
beside one adapter that is merged into the weights and decoded by transformers with its cache. The sides
alternate; every repetition is in the file, next to the medians. The file is written after every measurement.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from decoding import Times, endless, ours, passes, random_adapters
from devices import describe_machine
from random_models import random_llama
from training_sides import Settings as Sides
from training_sides import measure

from pluralign.core.files import write_json
from pluralign.lm.adapters import read_adapter
from pluralign.lm.backbone import load_backbone, load_tokenizer
from pluralign.lm.device import use_device
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer
from pluralign.steer.adapter_rows import AdapterRows

SIDES = ("pluralign", "trl")


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        out: JSON output file.
        device: Device: cuda, cuda:1, or cpu.
        tiny: Whether to take a tiny random model and short texts, to try the script.
        model: Base model; with --tiny it is not used, with --size its tokenizer is.
        size: Size of a random model that takes its place, a key of `random_models.SHAPES`.
        tokens: Number of tokens of a prompt and a completion in training.
        pairs: Number of pairs per step.
        token_budget: Largest number of tokens of a forest in training.
        steps: Number of timed steps per repetition of training.
        objectives: Numbers of policies in a mixture.
        batches: Numbers of concurrent requests.
        prompt_tokens: Number of tokens of each prompt in decoding.
        new_tokens: Number of tokens of each answer.
        turns: Number of repetitions of each side.
        parts: Parts: decoding, training.
        minutes: Minutes after which no measurement begins.
    """

    out: Path
    device: str = "cuda"
    tiny: bool = False
    model: str = "smollm2-135m"
    size: str | None = None
    tokens: int = 2048
    pairs: int = 8
    token_budget: int = 16_384
    steps: int = 4
    objectives: tuple[int, ...] = (3, 8)
    batches: tuple[int, ...] = (1, 8, 64)
    prompt_tokens: int = 256
    new_tokens: int = 64
    turns: int = 3
    parts: tuple[Literal["decoding", "training"], ...] = ("decoding", "training")
    minutes: float = 7.0


def main(settings: Settings) -> None:
    """Measure everything, print the medians, and write the file."""
    with use_device(settings.device), tempfile.TemporaryDirectory() as place:
        Run(settings, Path(place)).measure()


class Run:
    """One run of the benchmark.

    Args:
        settings: Settings.
        place: Folder for the made-up pairs and the random adapters.
    """

    def __init__(self, settings: Settings, place: Path) -> None:
        self.settings, self.place = settings, place
        self.end = time.monotonic() + 60 * settings.minutes
        self.model, self.tokens = settings.model, settings.tokens
        self.prompt_tokens, self.new_tokens = settings.prompt_tokens, settings.new_tokens
        # A CPU has no fast products in this type, or others.
        self.dtype = torch.bfloat16 if settings.device.startswith("cuda") else torch.float32
        if settings.size:
            self.model = str(random_llama(place, settings.size, tokenizer=settings.model))
        if settings.tiny:
            self.model, self.tokens = str(place / "model"), 256
            self.prompt_tokens, self.new_tokens = 8, 4
            make_tiny_model().save_pretrained(self.model)
            make_tiny_tokenizer().save_pretrained(self.model)
        self.found: dict[str, Any] = {
            "machine": describe_machine(),
            "settings": json.loads(json.dumps(asdict(settings), default=str)),
            "training": {},
            "decoding": [],
            "left_out": [],
        }

    def measure(self) -> None:
        """Measure the parts in the order of the settings."""
        for part in self.settings.parts:
            if part == "decoding":
                self._decoding()
            else:
                for case in ("bt-harmless", "dpo-harmless"):
                    self._training(case)
        if self.found["left_out"]:
            print(f"left out: {'; '.join(self.found['left_out'])}")
        print(f"wrote {self.settings.out}")

    def _turns(
        self, name: str, sides: Mapping[str, Callable[[], Any]], warm: Callable[[], Any]
    ) -> dict[str, list[Any]]:
        """Repetitions of the sides in alternating order, as many as there is time for."""
        results: dict[str, list[Any]] = {side: [] for side in sides}
        too_large: set[str] = set()
        if time.monotonic() < self.end:
            warm()
        for turn in range(self.settings.turns):
            for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                if side in too_large:
                    continue
                if time.monotonic() >= self.end:
                    self.found["left_out"].append(f"{name}, {side}, repetition {turn + 1}")
                    continue
                try:
                    results[side].append(sides[side]())
                except torch.OutOfMemoryError:
                    too_large.add(side)
                    self.found["left_out"].append(f"{name}, {side}: out of memory")
        return results

    def _training(self, case: str) -> None:
        file = self.place / "pairs.jsonl"
        sides = Sides(
            harmless=file, model=self.model, pairs=self.settings.pairs, steps=self.settings.steps,
            max_length=self.tokens, token_budget=max(self.settings.token_budget, self.tokens),
            dtype="bfloat16" if self.dtype == torch.bfloat16 else "float32",
        )  # fmt: skip
        if not file.exists():
            count = sides.pairs * (sides.steps + sides.warm_up + 1)
            write_pairs(file, load_tokenizer(self.model), count, self.tokens)
        results = self._turns(
            f"training {case}",
            {side: lambda side=side: measure(side, case, sides) for side in SIDES},
            lambda: None,  # each measurement has a step to warm up
        )
        speed = medians(results, lambda one: one["tokens_per_second"])
        memory = medians(results, lambda one: one["memory"])
        self.found["training"][case] = {"tokens_per_second": speed, "memory": memory, "repetitions": results}
        write_json(self.settings.out, self.found)
        for side in speed:
            print(f"{case}, {side}: {speed[side]:.0f} tokens/s, {memory[side] / 1e9:.2f} GB", flush=True)

    def _decoding(self) -> None:
        rows, merged = self._policies()
        for batch in self.settings.batches:
            generator = torch.Generator().manual_seed(batch)
            shape = (batch, self.prompt_tokens)
            prompts = torch.randint(9, len(rows.backbone.tokenizer), shape, generator=generator)
            there = prompts.to(rows.backbone.device)
            sides: dict[str, Callable[[], Times]] = {
                f"mixture of {n}": lambda n=n, p=prompts: ours(rows, p, n, self.new_tokens)
                for n in self.settings.objectives
            }
            sides["merged"] = lambda p=there: passes([lambda: merged], p, self.new_tokens)

            def warm(sides: dict[str, Callable[[], Times]] = sides) -> None:
                # The first pass compiles and chooses kernels.
                for side in sides.values():
                    side()

            results = self._turns(f"decoding at batch {batch}", sides, warm)
            row = {
                "batch": batch,
                "first_token": medians(results, lambda one: one[0]),
                "further_token": medians(results, lambda one: one[1]),
                "repetitions": results,
            }
            self.found["decoding"].append(row)
            write_json(self.settings.out, self.found)
            for side, token in row["further_token"].items():
                print(f"batch {batch}, {side}: {1000 * token:.2f} ms a token, "
                      f"first after {1000 * row['first_token'][side]:.1f} ms", flush=True)  # fmt: skip

    def _policies(self) -> tuple[AdapterRows, Any]:
        """The policies, and the first of them merged into its weights."""
        folders = random_adapters(self.model, max(self.settings.objectives), self.place)
        backbone = endless(load_backbone(self.model, dtype=self.dtype))
        alone = load_backbone(self.model, dtype=self.dtype).model
        return AdapterRows(backbone, dict(folders)), read_adapter(alone, folders["0"]).merge_and_unload()


def medians(results: Mapping[str, list[Any]], figure: Callable[[Any], float]) -> dict[str, float]:
    """Median of a figure over the repetitions of each side that has any."""
    return {side: statistics.median(map(figure, found)) for side, found in results.items() if found}


def write_pairs(file: Path, tokenizer: Any, count: int, tokens: int) -> None:
    """Write made-up pairs of random words whose longer text is a little shorter than a number of tokens.

    The prompt has three quarters of them, as long prompts with shorter answers do.

    Args:
        file: File to write.
        tokenizer: Tokenizer that counts.
        count: Number of pairs.
        tokens: Number of tokens that no text may reach.
    """
    words = ("river", "stone", "light", "garden", "winter", "letter", "music", "window", "bridge", "forest")
    generator = random.Random(0)

    def text(most: int) -> str:
        drawn = [f" {generator.choice(words)}" for _ in range(most)]
        while len(tokenizer("".join(drawn))["input_ids"]) > most:
            drawn = drawn[: -max(1, len(drawn) // 100)]
        return "".join(drawn)

    with file.open("w", encoding="utf-8") as handle:
        for _ in range(count):
            prompt = text(tokens * 3 // 4 - 4)
            row = {"prompt": prompt, "chosen": text(tokens // 4 - 4), "rejected": text(tokens // 4 - 4)}
            handle.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    asked = tyro.cli(Settings)
    if asked.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("this machine has no GPU (CUDA): --device cpu --tiny tries the script on a tiny model")
    main(asked)
