"""Speed of training compared with TRL: the same model, rows, optimizer and precision, in alternation.

    python benchmarks/training.py --harmless FILE --ethics FILE
    python benchmarks/training.py --harmless FILE --cases bt-harmless --model FOLDER --lora-rank 16 \\
        --dtype bfloat16 --gradient-checkpointing

Requires trl (the extra [rl] or [dev]) and preference data: --harmless and --ethics are files with the columns
chosen and rejected. Every measurement is a separate process, to measure its peak memory; the two sides
alternate. The time of a step is from one forward pass to the next: forward, backward, optimizer, data. Useful
tokens are the tokens of the rows with each prompt counted once, for both sides.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import torch
import tyro
from training_sides import Settings, measure

from pluralign.core.files import write_json


def main(settings: Settings) -> None:
    """Measure, and print a table."""
    if settings.child:
        side, case = settings.child.split(":")
        print("RESULT" + json.dumps(measure(side, case, settings)))
        return
    peak = matmul_peak(getattr(torch, settings.dtype))
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {torch.get_num_threads()} threads, {settings.dtype}; ", end="")
    print(f"matmul peak {peak / 1e9:.0f} GFLOP/s; {settings.pairs} pairs a step, ", end="")
    print(f"at most {settings.max_length} tokens")
    figures: dict[str, Any] = {
        "peak": peak,
        "settings": json.loads(json.dumps(asdict(settings), default=str)),
    }
    for case in settings.cases:
        found: dict[str, list[dict[str, Any]]] = {"pluralign": [], "trl": []}
        for turn in range(settings.turns):
            for side in ("pluralign", "trl") if turn % 2 == 0 else ("trl", "pluralign"):
                result = _in_a_process(side, case, settings)
                found[side].append(result)
                print(f"  {case} {side}: {result['tokens_per_second']:.0f} tokens/s, "
                      f"{result['memory'] / 1e9:.2f} GB", flush=True)  # fmt: skip
        figures[case] = found
        _say_figures(case, found, peak)
        if settings.out is not None:
            write_json(settings.out, figures)


def matmul_peak(dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a large product of the trunk's shapes."""
    a, b = torch.randn(2048, 576, dtype=dtype), torch.randn(576, 1536, dtype=dtype)
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(20):
            a @ b
        best = max(best, 20 * 2 * 2048 * 576 * 1536 / (time.perf_counter() - started))
    return best


def _say_figures(case: str, found: dict[str, list[dict[str, Any]]], peak: float) -> None:
    ours, theirs = found["pluralign"], found["trl"]
    speeds = [[r["tokens_per_second"] for r in side] for side in (ours, theirs)]
    memory = [max(r["memory"] for r in side) for side in (ours, theirs)]
    ratio = statistics.median(a / b for a, b in zip(*speeds, strict=True))
    share = statistics.median(speeds[0]) * ours[0]["flops_per_token"] / peak
    gaps = [abs(a - b) for a, b in zip(ours[0]["losses"], theirs[0]["losses"], strict=True)]
    print(
        f"{case}: {ratio:.2f} times TRL's tokens a second; memory {memory[0] / 1e9:.2f} to "
        f"{memory[1] / 1e9:.2f} GB ({memory[0] / memory[1]:.2f}); {100 * share:.0f} % of the matmul peak; "
        f"first loss differs by {gaps[0]:.1e}, all by at most {max(gaps):.1e}",
        flush=True,
    )


def _in_a_process(side: str, case: str, settings: Settings) -> dict[str, Any]:
    command = [
        sys.executable, __file__, "--child", f"{side}:{case}", "--harmless", str(settings.harmless),
        "--ethics", str(settings.ethics), "--model", settings.model, "--pairs", str(settings.pairs),
        "--steps", str(settings.steps), "--warm-up", str(settings.warm_up),
        "--token-budget", str(settings.token_budget), "--lora-rank", str(settings.lora_rank),
        "--max-length", str(settings.max_length),
        "--dtype", settings.dtype,
        "--load-in", str(settings.load_in),
        f"--{'' if settings.cpu_seconds else 'no-'}cpu-seconds",
        f"--{'' if settings.gradient_checkpointing else 'no-'}gradient-checkpointing",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        sys.exit(f"{side} {case} failed (exit code {done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT"))


if __name__ == "__main__":
    main(tyro.cli(Settings))
