"""How time and memory grow with the data, the completions, the length, the objectives and the model.

    python benchmarks/growth.py [--axes pairs length]

Every measurement is a process of its own: the processor time of its parts, and the peak of its resident
memory beyond what it held before the first part. An exponent is the slope between the two largest sizes on
logarithmic axes: 1 is linear. Models are random Llamas; nothing is downloaded.
Finished measurements are in ``--out`` and are not repeated.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from decoding import random_adapters
from random_models import SHAPES, random_llama

import pluralign as pl
from pluralign.core.files import read_json, replace_when_whole, write_json
from pluralign.evaluate.pictures.figure import figure_file

Figures = dict[str, float]
"""Processor seconds of each part, and ``memory`` in MB."""
SIZES: dict[str, tuple[str, ...]] = {
    "pairs": ("1000", "4000", "16000"),
    "completions": ("4", "16", "64", "256"),
    "length": ("256", "1024", "4096"),
    "objectives": ("1", "2", "4", "8", "16"),
    "trunk": ("0.1b", "0.3b", "0.6b", "1.0b", "1.5b"),
}
UNITS = {
    "pairs": "pairs",
    "completions": "completions of a prompt",
    "length": "tokens of a pair's texts",
    "objectives": "objectives",
    "trunk": "billions of parameters",
}


@dataclass(frozen=True)
class Settings:
    """Settings of the benchmark.

    Args:
        axes: Axes to measure: pairs, completions, length, objectives, trunk.
        small: Size of the model on all axes but trunk, a key of `random_models.SHAPES`.
        largest: Number of sizes of each axis that are measured, from the smallest.
        work: Folder of the random models and of the finished measurements.
        out: Folder of growth.json, growth.md and growth.svg.
        child: Measurement of a child process (internal).
    """

    axes: tuple[str, ...] = tuple(SIZES)
    small: str = "0.03b"
    largest: int = 5
    work: Path = Path("runs/growth")
    out: Path = Path(__file__).parent / "results"
    child: str = ""


class Meter:
    """Processor time of named parts, and the peak of the memory since the first of them."""

    def __init__(self) -> None:
        self.figures: Figures = {}
        self._before: float | None = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Measure what the block does."""
        if self._before is None:
            # The kernel's peak starts again from the present.
            Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS")
        started = time.process_time()
        yield
        self.figures[name] = time.process_time() - started
        self.figures["memory"] = _status("VmHWM") - self._before


def _status(name: str) -> float:
    """A field of this process's memory, MB."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) / 1024


def measure_pairs(size: str, model: str, place: Path, meter: Meter) -> None:
    """Read a file of pairs, and train a reward model on it once."""
    path = place / "pairs.jsonl"
    rows = (
        {"prompt": f"Question {i}?", "chosen": f" Yes, {i % 97}.", "rejected": f" No, {i % 89}!"}
        for i in range(int(size))
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pl.fit_reward(
        pl.load_pairs(path, split="train")[:64],
        model="tiny-random",
        training=pl.Training(),
        out=place / "warm",
    )
    with meter.part("read"):
        pairs = pl.load_pairs(path, split="train")
    training = pl.Training(batch_size=32, max_length=64, layers=0)
    with meter.part("train"):
        pl.fit_reward(pairs, model="tiny-random", training=training, out=place / "reward")


def measure_completions(size: str, model: str, place: Path, meter: Meter) -> None:
    """Draw completions of one prompt, and score them."""
    prompt = " ".join(f"word {i}" for i in range(100))
    rows = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" {w}."} for w in "abcdefgh"]
    reward = pl.fit_reward(
        pl.load_pairs(rows, split="train"), model=model, training=pl.Training(layers=0), out=place / "r"
    )
    mix = pl.load_policies(model, base=model)
    mix.generate(prompt, weights={"base": 1.0}, max_new_tokens=2)
    with meter.part("sample"):
        texts = mix.generate([prompt] * int(size), weights={"base": 1.0}, max_new_tokens=32)
    with meter.part("score"):
        reward.score([prompt] * len(texts), list(texts))


def measure_length(size: str, model: str, place: Path, meter: Meter) -> None:
    """Train one policy on a pair of long texts, score a long text, and continue one."""
    half = int(size) // 2
    rows = [{"prompt": " a" * half + f" {i}", "chosen": " b" * half, "rejected": " c" * half} for i in "0123"]
    short = [{**row, "prompt": "a", "chosen": " b", "rejected": " c"} for row in rows]
    training = pl.Training(batch_size=1, max_length=8192, lora_rank=8, token_budget=8192)
    pl.fit_policy(pl.load_pairs(short, split="train"), model=model, training=training, out=place / "warm")
    with meter.part("train"):
        pl.fit_policy(
            pl.load_pairs(rows, split="train"), model=model, training=training, out=place / "policy"
        )
    mix = pl.load_policies(model, policy=place / "policy")
    weights = {"policy": 1.0}
    mix.generate("a", weights=weights, max_new_tokens=1)
    with meter.part("first token"):
        mix.generate(" a" * int(size), weights=weights, max_new_tokens=1)


def measure_objectives(size: str, model: str, place: Path, meter: Meter) -> None:
    """Load adapters, and decode four answers with equal weights of all of them."""
    folders = random_adapters(model, int(size), place)
    names = list(folders)
    with meter.part("load"):
        mix = pl.load_policies(model, folders)
    weights = {name: 1 / len(names) for name in names}
    mix.generate("a", weights=weights, max_new_tokens=2)
    prompts = [" ".join(f"word {i + j}" for i in range(30)) for j in range(4)]
    with meter.part("decode"):
        mix.generate(prompts, weights=weights, max_new_tokens=32)


def measure_trunk(size: str, model: str, place: Path, meter: Meter) -> None:
    """Train an adapter on four pairs of 256 tokens, load it, and decode."""
    rows = [{"prompt": " a" * 128 + f" {i}", "chosen": " b" * 64, "rejected": " c" * 64} for i in "0123"]
    training = pl.Training(batch_size=4, lora_rank=8)
    pairs = pl.load_pairs(rows, split="train")
    with meter.part("train"):
        pl.fit_policy(pairs, model=model, training=training, out=place / "policy")
    mix = pl.load_policies(model, policy=place / "policy")
    mix.generate("a", weights={"policy": 1.0}, max_new_tokens=1)
    with meter.part("decode"):
        mix.generate("a b c d", weights={"policy": 1.0}, max_new_tokens=16)


MEASURES: dict[str, Callable[[str, str, Path, Meter], None]] = {
    "pairs": measure_pairs,
    "completions": measure_completions,
    "length": measure_length,
    "objectives": measure_objectives,
    "trunk": measure_trunk,
}


def measure(axis: str, size: str, settings: Settings) -> Figures:
    """Measure one size of one axis in this process."""
    model = random_llama(settings.work / "models", size if axis == "trunk" else settings.small)
    meter = Meter()
    with tempfile.TemporaryDirectory() as place:
        MEASURES[axis](size, str(model), Path(place), meter)
    return meter.figures


def measure_in_a_process(axis: str, size: str, settings: Settings) -> Figures:
    """Measure one size of one axis in a process of its own."""
    command = [
        sys.executable, __file__, "--child", f"{axis}={size}", "--work", str(settings.work), "--small",
        settings.small,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        sys.exit(f"{axis} {size} failed (exit code {done.returncode}):\n{done.stderr[-2000:]}")
    return json.loads(lines[0].removeprefix("RESULT"))


def magnitude(axis: str, size: str) -> float:
    """A size as a number."""
    if axis != "trunk":
        return float(size)
    hidden, inner, layers, heads, groups = SHAPES[size]
    keys = 2 * hidden * hidden * (1 + groups / heads)
    return (layers * (keys + 3 * hidden * inner) + 49_152 * hidden) / 1e9


def exponents(axis: str, rows: Mapping[str, Figures]) -> dict[str, float]:
    """Slope of each part between the two largest sizes, on logarithmic axes."""
    if len(rows) < 2:
        return {}
    (small, less), (large, more) = list(rows.items())[-2:]
    run = math.log(magnitude(axis, large) / magnitude(axis, small))
    return {
        name: math.log(max(more[name], 1e-9) / max(less[name], 1e-9)) / run for name in more if name in less
    }


def write_results(found: Mapping[str, Mapping[str, Figures]], out: Path) -> None:
    """Write ``growth.json``, ``growth.md`` and ``growth.svg``."""
    slopes = {axis: exponents(axis, rows) for axis, rows in found.items()}
    write_json(out / "growth.json", {"figures": found, "exponents": slopes})
    lines: list[str] = []
    for axis, rows in found.items():
        names = list(next(iter(rows.values())))
        heads = [f"{name}, {'MB' if name == 'memory' else 's'}" for name in names]
        lines += [f"| {UNITS[axis]} | {' | '.join(heads)} |", "| ---: " * (len(names) + 1) + "|"]
        for size, figures in rows.items():
            lines.append(f"| {size} | {' | '.join(f'{figures[name]:.3g}' for name in names)} |")
        if slopes[axis]:
            lines.append(f"| exponent | {' | '.join(f'{slopes[axis][name]:.2f}' for name in names)} |")
        lines.append("")
    with replace_when_whole(out / "growth.md") as temporary:
        temporary.write_text("\n".join(lines), "utf-8")
    draw(found, slopes, out / "growth.svg")


def draw(
    found: Mapping[str, Mapping[str, Figures]], slopes: Mapping[str, Mapping[str, float]], path: Path
) -> None:
    """Draw each axis as a panel: processor seconds and memory relative to the smallest size."""
    with figure_file(path, (3.1 * len(found), 3.2), {"font.size": 8}) as figure:
        panels: Sequence[Any] = figure.subplots(1, len(found), squeeze=False)[0]
        for panel, (axis, rows) in zip(panels, found.items(), strict=True):
            x = [magnitude(axis, size) for size in rows]
            for name in next(iter(rows.values())):
                values = [figures[name] for figures in rows.values()]
                slope = slopes[axis].get(name)
                label = name if slope is None else f"{name} ({slope:.2f})"
                style = "--" if name == "memory" else "-"
                panel.plot(
                    x, [v / max(values[0], 1e-9) for v in values], style, marker="o", ms=3, label=label
                )
            panel.plot(x, [v / x[0] for v in x], color="0.75", lw=1, zorder=0)
            panel.set(xscale="log", yscale="log", xlabel=UNITS[axis])
            panel.minorticks_off()
            panel.set_xticks(x, [size.removesuffix("b") for size in rows])
            panel.legend(frameon=False)
        panels[0].set_ylabel("relative to the smallest (grey: linear)")


def main(settings: Settings) -> None:
    """Measure, and write the tables and the picture after each measurement."""
    if settings.child:
        axis, size = settings.child.split("=")
        print("RESULT" + json.dumps(measure(axis, size, settings)))
        return
    known = settings.work / f"measured-{settings.small}.json"
    found: dict[str, dict[str, Figures]] = read_json(known) if known.exists() else {}
    for axis in settings.axes:
        for size in SIZES[axis][: settings.largest]:
            if size not in found.setdefault(axis, {}):
                found[axis][size] = measure_in_a_process(axis, size, settings)
                print(f"{axis} {size}: {found[axis][size]}", flush=True)
                write_json(known, found)
    write_results({axis: found[axis] for axis in settings.axes}, settings.out)
    print((settings.out / "growth.md").read_text("utf-8"))
    print(f"wrote {settings.out / 'growth.svg'}, growth.md and growth.json")


if __name__ == "__main__":
    main(tyro.cli(Settings))
