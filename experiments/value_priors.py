"""Prior values of prompts and budgets of samples: what they save, and where they harm.

    python experiments/value_priors.py --data DIR

Stories: exact values of uniform random play, estimated from four returns, a prior with a known bias, and
both fused; then a rule that buys returns while they pay. Texts: DIR contains hh_rlhf/, whose questions
SmolLM2-135M answers 32 times each, and programs score the answers (measured_lib). Budgets of samples are
replayed on them, against fixed numbers of samples at the same mean cost, and the mean rewards of prompts are
predicted from other prompts. Samples and value models are kept in ``--out``; an interrupted run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from afd_lib.stages import Draws, Recipe, Workshop
from console import say, wrote
from measured_lib.measures import QUALITIES
from measured_lib.prompts import divided
from value_priors_lib.report import as_markdown
from value_priors_lib.samples import Division, budget_rows, division, means_of, prior_values, rank_accuracies
from value_priors_lib.stories import UniformPlay, biased_budget_errors, budget_errors, fusion_errors
from value_priors_lib.value_models import FirstTokens

from pluralign.core.arrays import FloatArray
from pluralign.core.files import read_json, write_json, write_text
from pluralign.core.splits import seed_for
from pluralign.evaluate.statistics import RESAMPLES, Estimate, estimate, of_resamples, resampling_weights
from pluralign.games.choicescript.load import list_stories
from pluralign.lm.prompt_states import mean_states

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Settings of the experiment.

    Args:
        data: Folder with ``hh_rlhf/``; without it, the stories only.
        out: Working folder.
        stories: Names of the stories.
        states: Number of states of a story, drawn for each seed.
        story_seeds: Number of seeds of states, returns and priors.
        model: Model that is sampled, and whose features describe prompts.
        prompts: Number of prompts.
        samples: Number of samples of each prompt.
        tokens: Largest number of tokens of a sample.
        qualities: Qualities that programs measure.
        seeds: Number of divisions of the prompts into context and held-out ones, and of orders of samples.
        value_seeds: Number of the divisions for which value models are trained.
        value_samples: Number of samples of each prompt of which value models learn.
        value_epochs: Passes over them.
        results: Folder of the result files.
    """

    data: Path | None = None
    out: Path = Path("runs/value_priors")
    stories: tuple[str, ...] = tuple(list_stories())
    states: int = 400
    story_seeds: int = 20
    model: str = "smollm2-135m"
    prompts: int = 400
    samples: int = 32
    tokens: int = 24
    qualities: tuple[str, ...] = ("cheerful", "plain", "asking")
    seeds: int = 5
    value_seeds: int = 3
    value_samples: int = 4
    value_epochs: float = 2
    results: Path = RESULTS


def run(settings: Settings) -> None:
    """Measure everything, and write the tables."""
    report: Row = {"stories": {name: _story(name, settings) for name in settings.stories}}
    report |= {"story_seeds": settings.story_seeds, "states": settings.states}
    if settings.data is not None:
        report["texts"] = _texts(settings, settings.data)
        report |= {
            "model": settings.model, "prompts": settings.prompts, "samples": settings.samples,
            "tokens": settings.tokens, "seeds": settings.seeds, "value_seeds": settings.value_seeds,
            "value_samples": settings.value_samples,
        }  # fmt: skip
    settings.results.mkdir(parents=True, exist_ok=True)
    write_json(settings.results / "value_priors.json", report)
    write_text(settings.results / "value_priors.md", as_markdown(report))
    wrote(settings.results / "value_priors.md", f"{len(report['stories'])} stories")


def _story(name: str, settings: Settings) -> Row:
    """Tables of a story: means over seeds, with intervals."""
    play = UniformPlay(name)
    measures: dict[str, Callable[[UniformPlay, int, int], list[Row]]] = {
        "fusion": fusion_errors, "mixture": budget_errors, "biased": biased_budget_errors
    }  # fmt: skip
    found: Row = {}
    for key, measure in measures.items():
        tables = [measure(play, seed, settings.states) for seed in range(1, settings.story_seeds + 1)]
        found[key] = [
            {column: _over_seeds([row[column] for row in rows], column) for column in rows[0]}
            for rows in zip(*tables, strict=True)
        ]
    say(f"{name}: {settings.story_seeds} seeds")
    return found


def _over_seeds(values: Sequence[float], column: str) -> Any:
    return values[0] if column in ("bias", "share") else estimate(values).to_json()


def _texts(settings: Settings, data: Path) -> Row:
    """Tables of every quality."""
    shop = Workshop(settings.out, Recipe(settings.model, settings.tokens), 1)
    (prompts,) = divided(data, shop.base.tokenizer, (settings.prompts,), 1)
    draws = shop.drawn("draws", None, prompts, settings.samples)
    rewards = _rewards(settings, draws)
    features = mean_states(shop.base, prompts, max_length=512).double().numpy()
    parts = [division(len(prompts), seed) for seed in range(1, settings.seeds + 1)]
    first = FirstTokens(
        settings.model, draws, settings.value_samples, settings.value_epochs, settings.out / "values"
    )
    # The same resamples of prompts for everything.
    counts = np.rint(resampling_weights(len(prompts), RESAMPLES, np.random.default_rng(0)) * len(prompts))
    weights = np.vstack([np.ones(len(prompts)), counts])
    found: Row = {}
    for quality in settings.qualities:
        own = rewards[quality]
        within = float(np.sqrt(own.var(axis=1, ddof=1).mean()))
        centred = own - own.mean(axis=1, keepdims=True)
        found[quality] = {
            "instrument": QUALITIES[quality].first[0], "within": within,
            "between": float(own.mean(axis=1).std()),
            "skewness": float((centred**3).mean() / (centred**2).mean() ** 1.5),
            "budgets": _budgets(own, features, parts, weights),
            "ranks": _ranks(quality, settings, own, features, parts, weights, prompts, first),
        }  # fmt: skip
        say(f"{quality}: {len(prompts)} prompts")
    return found


def _rewards(settings: Settings, draws: Draws) -> dict[str, FloatArray]:
    """Rewards of each quality, shape (prompts, samples)."""
    path = settings.out / f"rewards-{len(draws)}.json"
    if not path.exists():
        measures = {name: QUALITIES[name].first[1] for name in settings.qualities}
        write_json(
            path,
            {
                name: [[measure(text) for text in own[: settings.samples]] for own in draws.values()]
                for name, measure in measures.items()
            },
        )
    return {name: np.array(values) for name, values in read_json(path).items()}


def _budgets(
    rewards: FloatArray, features: FloatArray, parts: Sequence[Division], weights: FloatArray
) -> list[Row]:
    """Reward minus price of every rule, and its gain over fixed numbers of samples, over prompts."""
    tables = [
        budget_rows(rewards, prior_values(features, rewards, one), one, seed)
        for seed, one in enumerate(parts, start=1)
    ]
    found: list[Row] = []
    for rows in zip(*tables, strict=True):
        net, same, best, normal = (
            means_of([row[key] for row in rows], parts, len(rewards))
            for key in ("net", "same cost", "best fixed", "normal")
        )
        found.append(
            {
                **{key: rows[0][key] for key in ("price", "least", "rule", "means")},
                "samples": float(np.mean([row["samples"] for row in rows])),
                "fixed": float(np.mean([row["fixed"] for row in rows])),
                "net": _over_prompts(net, weights), "over same cost": _over_prompts(net - same, weights),
                "over best fixed": _over_prompts(net - best, weights),
                "over normal": _over_prompts(net - normal, weights),
            }
        )  # fmt: skip
    return found


def _over_prompts(values: FloatArray, weights: FloatArray) -> Row:
    """Mean over the prompts that were held out, with its interval over prompts."""
    known = ~np.isnan(values)
    means = weights[:, known] @ values[known] / weights[:, known].sum(axis=1)
    return _interval(means)


def _interval(means: FloatArray) -> Row:
    found: Estimate = of_resamples(float(means[0]), means[1:], 0.95)
    return dict(found.to_json())


def _ranks(
    quality: str, settings: Settings, rewards: FloatArray, features: FloatArray, parts: Sequence[Division],
    weights: FloatArray, prompts: Sequence[str], first: FirstTokens,
) -> Row:  # fmt: skip
    """Rank accuracies of predicted mean rewards of held-out prompts: means over divisions."""
    lengths = np.array([float(len(prompt)) for prompt in prompts])
    accuracies: dict[str, list[FloatArray]] = {}
    for seed, one in enumerate(parts, start=1):
        predicted = {
            "ridge": prior_values(features, rewards, one),
            # The sign is the context's.
            "length": lengths[one.test]
            * np.sign(np.corrcoef(lengths[one.context], rewards[one.context].mean(axis=1))[0, 1]),
        }
        if seed <= settings.value_seeds:
            head = first.head(
                f"{quality}-{seed}", rewards, one.context.tolist(), seed_for(quality, seed) % 2**32
            )
            predicted["value model"] = first.values(head, one.test.tolist())
        for name, own in rank_accuracies(predicted, rewards[one.test], weights[:, one.test]).items():
            accuracies.setdefault(name, []).append(own)
    mean = {name: np.mean(own, axis=0) for name, own in accuracies.items()}
    compared = len(accuracies["value model"])
    gains = {
        "ridge minus length": mean["ridge"] - mean["length"],
        "ridge minus constant": mean["ridge"] - 0.5,
        "ridge minus value model": np.mean(accuracies["ridge"][:compared], axis=0) - mean["value model"],
    }
    return {
        "accuracy": {name: _interval(own) for name, own in mean.items()},
        "divisions": {name: [float(one[0]) for one in own] for name, own in accuracies.items()},
        "gain": {name: _interval(own) for name, own in gains.items()},
    }


if __name__ == "__main__":
    run(tyro.cli(Settings))
