"""``pluralign choose``: the best completion of each prompt by a weighted sum of rewards."""

from __future__ import annotations

import json as json_format
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pluralign.cli.common import JsonFile, give_figures, named_entries, say, say_table, wrote
from pluralign.core import InputError, OptionRewards, SteeringWeights
from pluralign.core.files import replace_when_whole
from pluralign.data.answers import Answers, load_answers
from pluralign.evaluate.rewards.scored import read_sigmas, score_sources
from pluralign.lm.backbone import DTypeName
from pluralign.rewards.ensemble import scale_of
from pluralign.steer.best_of_n import check_lower_bound, weigh

_DRAWS = "draws"


def choose_completions(
    completions: str,
    rewards: tuple[str, ...],
    weights: str,
    out: Path,
    lower_bound: float = 0.0,
    raw: bool = False,
    dtype: DTypeName = "float32",
    json: JsonFile = None,
) -> None:
    """Choose the best completion of each prompt by a weighted sum of rewards: weighted best-of-N.

    Rewards of different models have different units, so each is divided by its standard deviation between
    completions of one prompt, unless --raw True. An interrupted run continues. Other weights with the same
    objectives and the same --out do not run the models again.

    Example: pluralign choose --completions draws.jsonl --rewards helpful=runs/rm-helpful
    harmless=runs/rm-harmless --weights helpful=0.7,harmless=0.3 --out chosen.jsonl

    Args:
        completions: Samples, several per prompt (`pluralign generate --samples N`).
        rewards: Reward of each objective, as NAME=REWARD; REWARD is anything that `pluralign score` takes.
        weights: Weights of the objectives, as NAME=NUMBER,NAME=NUMBER. A reward of weight 0 is not loaded.
        out: JSON-lines file to write: prompt, completion, sample, rewards, weighted_reward and weights. The
            rewards of all completions are kept next to it.
        lower_bound: Number of standard deviations to subtract from each reward, if its model estimates them.
        raw: Whether to use the rewards in their own units.
        dtype: Precision of the reward models; auto is bfloat16 if the hardware supports it well.
        json: File for the figures.
    """
    named = named_entries(rewards, "rewards", "NAME=REWARD")
    mix = SteeringWeights.parse(weights)
    mix.require_known(tuple(named))
    check_lower_bound(lower_bound)
    # A reward of weight zero is not loaded.
    used = {name: spec for name, spec in named.items() if mix.get(name, 0.0) > 0}
    answers = list(load_answers(completions).answers.values())
    alone = sum(len(one.completions) == 1 for one in answers)
    if alone == len(answers) and not raw:
        raise InputError("has one completion per prompt: nothing to compare", path=completions)
    scored = _score(used, answers, out, dtype)
    scales = {} if raw else {name: scale_of([r.mean for r in own], name) for name, own in scored.items()}
    weighted = weigh(scored, mix, scales, lower_bound=lower_bound)
    best = [int(np.argmax(one.mean)) for one in weighted]
    _write(out, answers, scored, weighted, mix)
    total = sum(len(one.completions) for one in answers)
    told = f"the best of {total} completions of {len(answers)} prompts"
    wrote(out, f"{told}; prompts with one completion: {alone}" if alone else told)
    means = _means(scored, best)
    say("mean rewards")
    say_table(
        ["of all", "of the chosen", "of its own best"],
        {name: [f"{value:.4f}" for value in own.values()] for name, own in means.items()},
    )
    figures = {
        "prompts": len(answers), "completions": total, "prompts_with_one_completion": alone,
        "rewards": used, "weights": dict(mix), "lower_bound": lower_bound,
        "scales": {name: scale.deviation for name, scale in scales.items()} or None, "means": means,
    }  # fmt: skip
    give_figures(figures, json)


def _score(
    rewards: Mapping[str, str], answers: Sequence[Answers], out: Path, dtype: DTypeName
) -> dict[str, list[OptionRewards]]:
    """Each objective's rewards of each prompt's completions, kept in a file next to the output."""
    kept = out.with_name(f"{out.stem}.rewards.jsonl")
    wanted = [(name, _DRAWS) for name in rewards]
    means = score_sources(rewards, {_DRAWS: answers}, kept, wanted=wanted, dtype=dtype)
    sigmas = read_sigmas(kept)
    return {
        pair[0]: [
            OptionRewards(np.array(mean), np.array(sigma))
            for mean, sigma in zip(means[pair], sigmas[pair], strict=True)
        ]
        for pair in wanted
    }


def _write(
    out: Path, answers: Sequence[Answers], scored: Mapping[str, Sequence[OptionRewards]],
    weighted: Sequence[OptionRewards], mix: SteeringWeights,
) -> None:  # fmt: skip
    with replace_when_whole(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for i, (one, liked) in enumerate(zip(answers, weighted, strict=True)):
            best = int(np.argmax(liked.mean))
            row = {
                "prompt": one.prompt,
                "completion": one.completions[best],
                "sample": one.samples[best],
                "rewards": {
                    name: {"mean": float(own[i].mean[best]), "sigma": float(own[i].sigma[best])}
                    for name, own in scored.items()
                },
                "weighted_reward": float(liked.mean[best]),
                "weights": dict(mix),
            }
            handle.write(json_format.dumps(row, ensure_ascii=False) + "\n")


def _means(scored: Mapping[str, Sequence[OptionRewards]], best: Sequence[int]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "all": float(np.concatenate([one.mean for one in own]).mean()),
            "chosen": float(np.mean([one.mean[i] for one, i in zip(own, best, strict=True)])),
            "own_best": float(np.mean([one.mean.max() for one in own])),
        }
        for name, own in scored.items()
    }
