"""``pluralign evaluate golden``: golden rewards of policies' answers, on a scale from base to
demonstrations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.core import InputError
from pluralign.core.files import write_json
from pluralign.data.answers import load_answers
from pluralign.evaluate.pictures.alignment import NORMALISED, draw_scores
from pluralign.evaluate.rewards.best_of_n import normalised
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.evaluate.statistics import Estimate, FloatArray, estimate, paired_difference
from pluralign.lm.backbone import DTypeName


def evaluate_golden(
    sources: tuple[str, ...],
    golden: str,
    base: str,
    demonstrations: str,
    out: Path,
    dtype: DTypeName = "float32",
    seed: int = 0,
    json: JsonFile = None,
) -> None:
    """Score policies' answers to the same prompts with a golden reward: base is 0, demonstrations are 1.

    The golden reward should be one that no policy was trained on: a reward model's folder, or any sequence
    classifier. Each policy is also compared with the first one, prompt by prompt. An interrupted run
    continues.

    Example: pluralign evaluate golden --sources sft=sft.jsonl spin=spin.jsonl --golden classifier:NAME
    --base base.jsonl --demonstrations demo.jsonl --out runs/golden

    Args:
        sources: Answers of each policy, as NAME=FILE (`pluralign generate`); several answers to one prompt
            are averaged.
        golden: Golden reward: anything that `pluralign score` takes.
        base: Answers of the base model to the same prompts.
        demonstrations: Demonstrations for the same prompts.
        out: Folder for report.json, scores.svg and rewards.jsonl.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        seed: Random seed of the bootstrap.
        json: File for the figures.
    """
    named = named_entries(sources, "sources", "NAME=FILE")
    ends = {"base": base, "demonstrations": demonstrations}
    if taken := sorted(set(named) & set(ends)):
        raise InputError(f"'{taken[0]}' is reserved for an end of the scale", field="sources")
    read = {name: load_answers(path) for name, path in {**named, **ends}.items()}
    prompts = read[next(iter(named))]
    answers = {name: source.of(prompts) for name, source in read.items()}
    if len(prompts.answers) < 2:
        raise InputError("has one prompt; intervals need at least two", path=prompts.path)
    found = score_sources(
        {"golden": golden}, answers, out / "rewards.jsonl",
        wanted=[("golden", name) for name in answers], dtype=dtype,
    )  # fmt: skip
    means: dict[str, FloatArray] = {
        name: np.array([float(np.mean(own)) for own in found["golden", name]]) for name in answers
    }
    try:
        scaled = {
            name: normalised(means[name], means["base"], means["demonstrations"], seed=seed)[0]
            for name in named
        }
    except InputError as error:
        say(f"not normalised: {error}")
        scaled = {}
    plain = {name: estimate(values, seed=seed) for name, values in means.items()}
    first = next(iter(named))
    gaps = {name: paired_difference(means[name], means[first], seed=seed) for name in named if name != first}
    shown = scaled or {name: plain[name] for name in named}
    draw_scores({golden: shown}, out / "scores.svg", label=NORMALISED if scaled else "golden reward")
    _tell(plain, scaled, gaps, first, len(prompts.answers))
    figures = {
        "prompts": len(prompts.answers), "golden": golden, "seed": seed,
        "rewards": {name: value.to_json() for name, value in plain.items()},
        "normalised": {name: value.to_json() for name, value in scaled.items()} or None,
        f"above_{first}": {name: value.to_json() for name, value in gaps.items()},
    }  # fmt: skip
    write_json(out / "report.json", figures)
    wrote(out / "report.json", f"{len(named)} policies; scores.svg is next to it")
    give_figures(figures, json)


def _tell(
    plain: Mapping[str, Estimate], scaled: Mapping[str, Estimate], gaps: Mapping[str, Estimate], first: str,
    prompts: int,
) -> None:  # fmt: skip
    columns = {
        "golden": plain,
        **({"base 0, demonstrations 1": scaled} if scaled else {}),
        f"above {first}": gaps,
    }
    say(f"golden reward on {prompts} prompts, with standard errors")
    rows = {
        name: [column[name].with_error() if name in column else "" for column in columns.values()]
        for name in plain
    }
    say_table(list(columns), rows)
