"""A rule as a reward of sentences that are being written, against a value model that learned the same rule.

    python experiments/block_guidance.py --data FOLDER

FOLDER contains hh_rlhf/, whose questions SmolLM2-135M answers "in one short sentence". The rule: an answer
ends with a full stop and has at most 25 words. Blockwise guidance draws K continuations of each sentence and
keeps the best, by the rule itself or by a value model (a head on the frozen trunk, targets at the ends of
sentences) that was trained on samples of other questions; best-of-K draws whole answers and chooses by the
rule. Reported are the share of answers that follow the rule, with intervals over prompts, and the tokens that
were drawn for an answer. Every stage is a file in ``--out``; an interrupted run continues.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.stages import Recipe, Workshop
from console import say, write_page, wrote
from measured_lib.prompts import divided

from pluralign.core.files import read_json, write_json
from pluralign.core.splits import seed_for
from pluralign.data.examples import ScoredCompletion
from pluralign.evaluate.statistics import Estimate, estimate
from pluralign.folders.card import CARD, load_card
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.texts.value import ValueConfig, fit_value
from pluralign.lm.decoding import Decoding
from pluralign.steer.block_guides import BlockGuide, Blocks, Draft
from pluralign.steer.writers import open_writer

RESULTS = Path(__file__).parent / "results"
WORDS = 25
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seeds: Random seeds of the questions, of the samples and of training.
        model: Language model.
        draws: Numbers of draws of each block, above 1.
        trained: Number of questions for the value model's samples.
        samples: Number of samples of each of them.
        tests: Number of test questions of each seed.
        tokens: Number of new tokens of an answer.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/block_guidance")
    seeds: tuple[int, ...] = (1, 2)
    model: str = "smollm2-135m"
    draws: tuple[int, ...] = (2, 5)
    trained: int = 60
    samples: int = 8
    tests: int = 40
    tokens: int = 48
    results: Path = RESULTS


def follows(text: str) -> bool:
    """Whether an answer ends with a full stop and has at most 25 words."""
    return text.rstrip().endswith(".") and len(text.split()) <= WORDS


def rule(draft: Draft) -> float:
    """1 for an answer that follows the rule, 0 for one that cannot follow it any more, 0.5 between."""
    if draft.finished:
        return float(follows(draft.text))
    return 0.5 * (len(draft.text.split()) <= WORDS)


def run(settings: Settings) -> None:
    """Run all seeds, and write the results."""
    rows = [row for seed in settings.seeds for row in _seed(settings, seed)]
    _write(settings, rows)


def _seed(settings: Settings, seed: int) -> Iterator[Row]:
    shop = Workshop(settings.out / str(seed), Recipe(settings.model, settings.tokens), seed)
    tokenizer = shop.base.tokenizer
    parts = divided(settings.data, tokenizer, (settings.trained, settings.tests), seed)
    trained, tests = ([_short(prompt) for prompt in part] for part in parts)
    value = _value(shop, trained, settings.samples)
    explained = load_card(value).figures.get("validation_explained_variance_last_token")
    sides: list[tuple[str, int, BlockGuide, bool]] = [("plain", 1, rule, False)]
    for draws in settings.draws:
        sides += [
            ("rule", draws, rule, False), ("value model", draws, value, False),
            ("best of K by the rule", draws, rule, True),
        ]  # fmt: skip
    for name, draws, guide, whole in sides:
        path = shop.folder / f"{name.replace(' ', '-')}-{draws}.json"
        if not path.is_file():
            say(f"seed {seed}: {name}, {draws} draws")
            blocks = Blocks(
                {"rule": guide}, None, draws, "tokens" if whole else "sentences",
                settings.tokens if whole else 64, dtype="float32",
            )  # fmt: skip
            write_json(path, _answers(settings, blocks, tests, seed))
        yield {"seed": seed, "side": name, "draws": draws, "explained": explained, **read_json(path)}


def _short(prompt: str) -> str:
    """A chat with the request for a short answer at the end of its question."""
    head, mark, tail = prompt.rpartition("?")
    return f"{head}{mark} Answer in one short sentence.{tail}"


def _value(shop: Workshop, prompts: Sequence[str], samples: int) -> Path:
    """A value model of the rule, from samples of the model."""
    draws = shop.drawn("samples", None, prompts, samples)
    rows = [
        ScoredCompletion(prompt, text, float(follows(text)), "rule", "train" if i % 5 else "validation")
        for i, (prompt, texts) in enumerate(draws.items())
        for text in texts
    ]
    out = shop.folder / "value"
    if not (out / CARD).is_file():
        say(f"{shop.folder.name}: value, {len(rows)} rows")
        training = Training(layers=0, learning_rate=1e-3, epochs=8, batch_size=8, bf16=False)
        chats = Run(shop.recipe.model, out, training, shop.seed, control_tokens=True)
        fit_value(rows, chats, ValueConfig(lam=1.0, at="sentences"))
    return out


def _answers(settings: Settings, blocks: Blocks, prompts: Sequence[str], seed: int) -> Row:
    """Answers to the test questions, in their order."""
    decoding = Decoding(settings.tokens)
    writer = open_writer(settings.model, decoding, guides=blocks, dtype="float32", control_tokens=True)
    assert writer.stream is not None, "blocks are written one by one"
    began = time.process_time()
    found = dict[int, tuple[str, Mapping[str, Any]]]()
    for number, text, more in writer.stream(prompts, [seed_for(prompt, seed) for prompt in prompts]):
        found[number] = text, more
    answers = [found[number] for number in range(len(prompts))]
    return {
        "answers": [text for text, _ in answers],
        "follows": [follows(text) for text, _ in answers],
        "drawn": [more["drawn"] for _, more in answers],
        "kept": [more["tokens"] for _, more in answers],
        "cpu_seconds": time.process_time() - began,
    }


def _write(settings: Settings, rows: Sequence[Row]) -> None:
    """``block_guidance.json`` and ``block_guidance.md``: all seeds' questions together."""
    cells: list[Row] = []
    followed: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
    for side, draws in dict.fromkeys((row["side"], row["draws"]) for row in rows):
        own = [row for row in rows if (row["side"], row["draws"]) == (side, draws)]
        every = {
            key: np.array([x for row in own for x in row[key]], float) for key in ("follows", "drawn", "kept")
        }
        followed[side, draws] = every["follows"]
        cells.append(
            {"side": side, "draws": draws, "follows": estimate(every["follows"]).to_json(),
             "seeds": [float(np.mean(row["follows"])) for row in own], "drawn": float(every["drawn"].mean()),
             "kept": float(every["kept"].mean()),
             "cpu_seconds": sum(row["cpu_seconds"] for row in own) / len(every["kept"])}
        )  # fmt: skip
    pairs = {
        f"{other}, {draws} draws, minus the value model": estimate(
            followed[other, draws] - followed["value model", draws]
        )
        for draws in settings.draws
        for other in ("rule", "best of K by the rule")
    }
    explained = [row["explained"] for row in rows if row["side"] == "plain"]
    content = {"cells": cells, "explained": explained,
               "differences": {name: one.to_json() for name, one in pairs.items()}}  # fmt: skip
    write_json(settings.results / "block_guidance.json", content)
    write_page(settings.results / "block_guidance.md", _table(settings, cells, explained, pairs))
    wrote(settings.results / "block_guidance.md", f"{len(rows)} runs")


def _table(
    settings: Settings, cells: Sequence[Row], explained: Sequence[float | None], pairs: Mapping[str, Estimate]
) -> list[str]:
    known = ", ".join("none" if one is None else f"{one:.2f}" for one in explained)
    lines = [
        "# A rule and a value model as guides of sentences", "", "`python experiments/block_guidance.py`", "",
        *textwrap.wrap(
            f"{Path(settings.model).name}, {settings.tests} questions for each of {len(settings.seeds)} "
            f"seeds, answered in one short sentence, at most {settings.tokens} tokens, temperature 1. The "
            f"rule: the answer ends with a full stop and has at most {WORDS} words. The value models are "
            f"heads on the frozen trunk, from {settings.trained} x {settings.samples} samples of other "
            f"questions; after the last token they explain {known} of the rule's variance on held-out "
            "questions. Intervals of 95 % over questions; tokens and CPU seconds (one thread) per answer.",
            100,
        ), "",
        "| guide | draws | follows the rule | by seed | tokens drawn | tokens kept | CPU s |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for cell in cells:
        of = cell["follows"]
        seeds = " ".join(f"{one:.2f}" for one in cell["seeds"])
        lines.append(
            f"| {cell['side']} | {cell['draws']} | {of['mean']:.2f} ({of['low']:.2f} to {of['high']:.2f}) | "
            f"{seeds} | {cell['drawn']:.0f} | {cell['kept']:.0f} | {cell['cpu_seconds']:.1f} |"
        )
    return [*lines, "", *(f"- {name}: {one.with_interval()}" for name, one in pairs.items())]


if __name__ == "__main__":
    run(tyro.cli(Settings))
