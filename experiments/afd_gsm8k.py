"""Alignment from demonstrations with a checkable golden reward: GSM8K.

    python experiments/afd_gsm8k.py --data FOLDER

FOLDER contains gsm8k/train.jsonl.gz. Demonstrations are worked answers; the golden reward is 1 if the final
number is right. The first question is whether a model of this size is ever right, directly or in one of M
samples. An interrupted run continues.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd import RECIPE
from afd_lib.report import as_figures, cell, write_table
from afd_lib.stages import Draws, Recipe, Workshop, all_train, as_rows

from pluralign.core import Demonstration
from pluralign.core.files import replace_when_whole, write_json
from pluralign.core.splits import seed_for
from pluralign.data.source import open_table
from pluralign.evaluate.rewards.best_of_n import expected_best
from pluralign.evaluate.statistics import estimate
from pluralign.learn.texts.rewards import fit_discriminator
from pluralign.learn.texts.sft import fit_sft
from pluralign.pair.recipes import pair_completions
from pluralign.rewards.open import load_closed_form

_MARKS = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seed: Random seed of the parts, of training and of sampling.
        model: Base model pi_init.
        demonstrations: Number of training demonstrations, the shortest first.
        tests: Number of test questions, of the same lengths.
        samples: Number of samples per test question.
        tokens: Number of new tokens of every completion.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/afd")
    seed: int = 1
    model: str = "smollm2-135m"
    demonstrations: int = 400
    tests: int = 40
    samples: int = 32
    tokens: int = 80
    results: Path = Path(__file__).parent / "results"


def main(settings: Settings) -> None:
    """Train, sample, check and report."""
    shop = Workshop(
        settings.out / f"gsm8k-{settings.seed}",
        Recipe(settings.model, settings.tokens, **RECIPE),
        settings.seed,
    )
    shown, asked = read(settings)
    sft = shop.trained("sft", fit_sft, shown, "policy")
    prompts = [row.prompt for row in asked]
    draws = {"base": shop.drawn("test-base", None, prompts, settings.samples)}
    draws["SFT"] = shop.drawn("test-sft", sft, prompts, settings.samples)
    right = {
        name: np.array([[_is_right(text, row) for text in own[row.prompt]] for row in asked])
        for name, own in draws.items()
    }
    rewards = _rewards(shop, shown, sft, draws["SFT"])
    figures: dict[str, Any] = {
        "questions": len(asked), "samples": settings.samples,
        "right": {name: as_figures(estimate(values.mean(axis=1))) for name, values in right.items()},
        "one_of_all_right": {name: float(values.max(axis=1).mean()) for name, values in right.items()},
        "best_of": {
            name: {
                str(n): as_figures(estimate(expected_best(values, right["SFT"])[:, n - 1]))
                for n in sorted({1, min(4, settings.samples), settings.samples})
            }
            for name, values in rewards.items()
        },
    }  # fmt: skip
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "afd_gsm8k.json", figures)
    with replace_when_whole(settings.results / "afd_gsm8k.md") as temporary:
        temporary.write_text(_markdown(figures), "utf-8")


def read(settings: Settings) -> tuple[list[Demonstration], list[Demonstration]]:
    """Demonstrations and test questions; the calculator marks of the worked answers are removed."""
    rows = [row for _, _, row in open_table(settings.data / "gsm8k" / "train.jsonl.gz").rows()]
    found = [
        Demonstration(f"Question: {row['question']}\nAnswer:", " " + _MARKS.sub("", row["answer"]), "maths")
        for row in rows
    ]
    short = sorted(found, key=lambda row: len(row.completion))[
        : 4 * (settings.demonstrations + settings.tests)
    ]
    mixed = sorted(short, key=lambda row: seed_for(row.prompt, settings.seed))
    return mixed[: settings.demonstrations], mixed[settings.demonstrations :][: settings.tests]


def last_number(text: str) -> float | None:
    """The number after ``####``, otherwise the last one."""
    after = text.rpartition("####")[2].partition("\n")[0] if "####" in text else text
    numbers = _NUMBER.findall(after)
    if not numbers:
        return None
    return float((numbers[0] if "####" in text else numbers[-1]).replace(",", ""))


def _is_right(completion: str, row: Demonstration) -> float:
    return float(last_number(completion) == last_number(row.completion))


def _rewards(shop: Workshop, shown: list[Demonstration], sft: Path, draws: Draws) -> dict[str, np.ndarray]:
    prompts = [row.prompt for row in shown]
    init = as_rows(shop.drawn("train-init", None, prompts, 1), shown)
    tuned = as_rows(shop.drawn("train-sft", sft, prompts, 1), shown)
    pairs = all_train(pair_completions(tuned, init, objective="maths", recipe="init-sft"))
    reward = shop.trained("rm-init-sft", fit_discriminator, pairs, "reward")
    found = shop.scored("best-of", draws, {"Init-SFT": reward})
    found["closed form"] = shop.scored_by(
        "best-of", draws, "closed-form", lambda: load_closed_form(sft, dtype=shop.base.dtype)
    )
    return {name: values for name, values in found.items() if not name.endswith(" sigma")}


def _markdown(figures: Mapping[str, Any]) -> str:
    lines = write_table(
        ("GSM8K", "share of right answers", f"one of {figures['samples']} samples right"),
        [
            (name, cell(share, 3), f"{figures['one_of_all_right'][name]:.2f}")
            for name, share in figures["right"].items()
        ],
    )
    sizes = list(next(iter(figures["best_of"].values())))
    lines += write_table(
        ("best of N from SFT, chosen by", *(f"N = {n}" for n in sizes)),
        [(name, *(cell(by[n], 3) for n in sizes)) for name, by in figures["best_of"].items()],
    )
    return "\n".join([f"{figures['questions']} questions.", *lines]) + "\n"


if __name__ == "__main__":
    main(tyro.cli(Settings))
