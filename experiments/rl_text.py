"""Policies trained for one weighting of two measured rewards, by combination; docs/papers.md has the table.

    python experiments/rl_text.py --data FOLDER

Programs measure how cheerful an answer is and how common its words are. For two weightings of both, `learn
rl` trains a policy with each combination of rewards from equally many samples: the weighted sum, GRPO of it,
and DVAO. Answers to test prompts are measured by the programs that trained and by others that nothing saw.
Figures after every round say what each combination reached at an equal divergence from the model before
training. Every policy is a folder in ``--out``, and an interrupted run continues.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.report import cell, over_runs
from console import say, write_page, wrote
from measured_lib.measures import QUALITIES
from measured_lib.prompts import divided

import pluralign as pl
from pluralign.core.files import read_json, write_json
from pluralign.evaluate.statistics import paired_difference
from pluralign.folders.card import load_card
from pluralign.learn.combination import Combine
from pluralign.learn.texts.rl import fit_rl
from pluralign.learn.texts.rl_rounds import RLConfig
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.training_options import Training
from pluralign.learn.weighting import Fixed
from pluralign.lm.backbone import Backbone, load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.generation import draw_samples
from pluralign.losses.advantages import centred_sum, dvao, reward_combination

NAMES = ("cheerful", "plain")
COMBINATIONS: dict[str, Combine] = {
    "weighted sum": centred_sum, "GRPO of the sum": reward_combination, "DVAO": dvao,
}  # fmt: skip
REWARDS = {name: QUALITIES[name].reward for name in NAMES}
"""Instruments that train."""
RESULTS = Path(__file__).parent / "results"
FIGURES = ("gain", "kl", "at_reach")
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder of the data sets.
        out: Working folder.
        seeds: Training seeds.
        model: Model before training.
        weights: Weights of the first objective.
        prompts: Number of prompts; a tenth of them measure the policy after each round.
        tests: Number of test prompts.
        answers: Number of answers to each test prompt.
        learning_rate: Initial learning rate.
        lora_rank: LoRA rank of the policies.
        batch_size: Number of completions of a step.
        config: Settings of `fit_rl`. The divergence has no price, since combinations divide it differently.
        results: Folder of the result files.
    """

    data: Path
    out: Path = Path("runs/rl_text")
    seeds: tuple[int, ...] = (1, 2, 3)
    model: str = "smollm2-135m"
    weights: tuple[float, ...] = (0.3, 0.7)
    prompts: int = 640
    tests: int = 60
    answers: int = 4
    learning_rate: float = 4e-4
    lora_rank: int = 16
    batch_size: int = 32
    config: RLConfig = field(
        default_factory=lambda: RLConfig(rounds=4, prompts=32, samples=8, max_new_tokens=32, kl=0.0)
    )
    results: Path = RESULTS


class Trained:
    """Policies of one seed.

    Args:
        settings: Settings of the experiment.
        seed: Training seed.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings, self._seed = settings, seed
        self._initial = load_backbone(settings.model)
        sizes = (settings.tests, settings.prompts)
        self._tests, self._prompts = divided(settings.data, self._initial.tokenizer, sizes, 0)

    def rows(self) -> Iterator[Row]:
        """Figures of the model before training and of every policy."""
        own = self._settings
        before = self._measured(self._initial)
        yield {"way": "before training", "seed": self._seed, "test": before}
        for weight in own.weights:
            for way, combine in COMBINATIONS.items():
                out = own.out / str(self._seed) / f"{way.replace(' ', '_')}-{weight}"
                say(f"{self._seed}: {way}, {weight:g} {NAMES[0]}")
                mix = pl.SteeringWeights(dict(zip(NAMES, (weight, 1 - weight), strict=True)))
                training = Training(
                    batch_size=own.batch_size, lora_rank=own.lora_rank, learning_rate=own.learning_rate
                )
                run = Run(own.model, out, training, self._seed, control_tokens=True)
                policy = fit_rl(
                    self._prompts, run, own.config, rewards=REWARDS, weighting=Fixed(mix), combine=combine
                )
                rounds = load_card(out).figures["rounds"]
                yield {
                    "way": way, "weight": weight, "seed": self._seed, "test": self._measured(policy),
                    "rounds": _curve(rounds, mix), "scales": rounds[0]["scales"],
                    "samples": rounds[-1]["samples"],
                }  # fmt: skip

    def _measured(self, policy: Backbone) -> dict[str, dict[str, float]]:
        """Means over test answers, of each objective by both instruments."""
        decoding = Decoding(self._settings.config.max_new_tokens, self._settings.config.temperature)
        drawn = draw_samples(
            policy, self._tests, self._settings.answers, decoding, seed=self._seed, label="test"
        )
        texts = [text for own in drawn.values() for text in own]
        return {
            name: {
                label: float(np.mean([measure(text) for text in texts]))
                for label, (_, measure) in (("first", quality.first), ("second", quality.second))
            }
            for name, quality in QUALITIES.items()
            if name in NAMES
        }


def _curve(rounds: Sequence[Mapping[str, Any]], mix: pl.SteeringWeights) -> list[dict[str, float]]:
    """Divergence and weighted gain after each round, in deviations of the rewards before training."""
    first = rounds[0]
    return [
        {
            "kl": one["kl"],
            "gain": sum(
                mix[name]
                * (one["rewards"][name] - first["rewards"][name])
                / first["scales"][name]["deviation"]
                for name in NAMES
            ),
        }
        for one in rounds
    ]


def tables(rows: Sequence[Row]) -> list[Row]:
    """Gains of every policy over the model before training, and what each gained at an equal divergence.

    Gains are in deviations of the model's rewards before training; those of second instruments are in
    units of the instrument. The equal divergence is the smallest that the combinations of a weighting and
    seed end with.
    """
    before = {row["seed"]: row["test"] for row in rows if row["way"] == "before training"}
    groups: dict[tuple[int, float], list[Row]] = defaultdict(list)
    for row in rows:
        if "weight" in row:
            groups[row["seed"], row["weight"]].append(row)
    found: list[Row] = []
    for (seed, weight), own in groups.items():
        reach = min(row["rounds"][-1]["kl"] for row in own)
        for row in own:
            gains = {
                name: (row["test"][name]["first"] - before[seed][name]["first"])
                / row["scales"][name]["deviation"]
                for name in NAMES
            }
            others = {name: row["test"][name]["second"] - before[seed][name]["second"] for name in NAMES}
            found.append(
                {
                    "way": row["way"], "weight": weight, "seed": seed, "gains": gains, "others": others,
                    "gain": weight * gains[NAMES[0]] + (1 - weight) * gains[NAMES[1]],
                    "kl": row["rounds"][-1]["kl"], "reach": reach, "at_reach": _at(row["rounds"], reach),
                }
            )  # fmt: skip
    return found


def _at(curve: Sequence[Mapping[str, float]], kl: float) -> float:
    """Gain at a divergence, interpolated between rounds."""
    ordered = sorted((one["kl"], one["gain"]) for one in curve)
    return float(np.interp(kl, *map(list, zip(*ordered, strict=True))))


def differences(known: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Differences from the first combination, over seeds; a seed's figure is the mean of its weightings."""

    def of_seeds(way: str, figure: str) -> list[float]:
        seeds = sorted({row["seed"] for row in known})
        return [
            float(np.mean([row[figure] for row in known if (row["way"], row["seed"]) == (way, seed)]))
            for seed in seeds
        ]

    first, *others = COMBINATIONS
    return {
        way: {
            figure: paired_difference(of_seeds(way, figure), of_seeds(first, figure)).to_json()
            for figure in FIGURES
        }
        for way in others
    }


def run(settings: Settings) -> None:
    """Train and measure everything, and write the results as they come."""
    rows: list[Row] = []
    for seed in settings.seeds:
        path = settings.out / f"{seed}.json"
        if not path.exists():
            write_json(path, list(Trained(settings, seed).rows()))
        rows += read_json(path)
        write_results(rows, settings)
    wrote(settings.results / "rl_text.md", f"{len(settings.seeds)} training seeds")


def write_results(rows: list[Row], settings: Settings) -> None:
    """``rl_text.json`` (all rows) and ``rl_text.md`` (means and intervals over seeds)."""
    known = tables(rows)
    seeds = len({row["seed"] for row in known})
    groups: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in known:
        groups[row["way"], row["weight"]].append(row)
    samples = max(row["samples"] for row in rows if "samples" in row)
    lines = [
        "# Policies for one weighting of two measured rewards",
        "",
        "`python experiments/rl_text.py`",
        "",
    ]
    lines += textwrap.wrap(
        f"Training seeds: {seeds}. {settings.model} on questions of HH-RLHF; {samples} completions of at "
        f"most {settings.config.max_new_tokens} tokens for each policy, those of scales and measurement "
        "included, and no price on the divergence. Gains over the model before training on "
        f"{settings.tests} test prompts with {settings.answers} answers each, in standard deviations of "
        "its rewards, by the programs that trained; by the second instruments in their own units (AFINN per "
        "word; syllables of a word, with a minus sign). The last column is the weighted gain on validation "
        "prompts at the smallest divergence that the combinations ended with. Means over seeds, 95 % "
        "intervals where there are two or more.",
        108,
    )  # fmt: skip
    lines += [
        "",
        "| combination | weight of cheerful | cheerful | plain | AFINN | syllables | weighted gain | KL "
        "| weighted gain at equal KL |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (way, weight), own in sorted(groups.items(), key=lambda item: item[0][1]):
        columns = [
            *([row["gains"][name] for row in own] for name in NAMES),
            *([row["others"][name] for row in own] for name in NAMES),
            *([row[name] for row in own] for name in FIGURES),
        ]
        lines.append(f"| {way} | {weight:g} | {' | '.join(cell(over_runs(one)) for one in columns)} |")
    lines += ["", "Differences from the weighted sum, means of the weightings, over seeds:", ""]
    lines += ["| combination | weighted gain | KL | weighted gain at equal KL |", "|---|---:|---:|---:|"]
    gaps = differences(known) if seeds > 1 else {}
    for way, own in gaps.items():
        lines.append(f"| {way} | {' | '.join(cell(own[figure]) for figure in FIGURES)} |")
    write_json(settings.results / "rl_text.json", {"rows": rows, "table": known, "differences": gaps})
    write_page(settings.results / "rl_text.md", lines)


if __name__ == "__main__":
    run(tyro.cli(Settings))
