"""``pluralign evaluate play``: returns and harms of a policy on a story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pluralign.cli.common import Figures, named_folders, say
from pluralign.core import InputError, Policy
from pluralign.evaluate.harms_table import HEADLINES
from pluralign.evaluate.play import PolicyResult, evaluate_policy
from pluralign.evaluate.statistics import Estimate
from pluralign.games.open import open_story
from pluralign.options.open import Models, load_agents, open_policy, open_trained
from pluralign.steer.mixing import GEOMETRIC
from pluralign.steer.steered import steered
from pluralign.steer.suggest import constant_weights


def evaluate_play(
    story: str,
    policy: str = "",
    policies: tuple[str, ...] = (),
    weights: str = "",
    power: float = GEOMETRIC,
    episodes: int = 300,
    seed: int = 0,
    greedy: bool = False,
    tail: float | None = None,
    objectives: tuple[str, ...] = ("score", "harm_avoidance"),
    features: Path | None = None,
    prior: Path | None = None,
) -> Figures:
    """Play episodes with one policy, or with several policies steered by weights, and report returns and
    harms.

    Example: pluralign evaluate play --story salt_ledger --policies score=runs/score harm_avoidance=runs/harm
    --weights score=0.6,harm_avoidance=0.4

    Args:
        story: Name of a built-in story, or path of any game (docs/other_games.md).
        policy: Policy that plays: random, a trained policy's folder, or a language model.
        policies: Policies to mix, one per objective, as NAME=DIR.
        weights: Weights as NAME=NUMBER,NAME=NUMBER: non-negative, summing to one; or
            wish:DIAL:NAME=NUMBER,... by a calibrated dial.
        power: Power of the mixture: 1 arithmetic, 0 geometric, -1 harmonic.
        episodes: Number of episodes.
        seed: Random seed of the episodes.
        greedy: Whether to take the most likely option instead of sampling.
        tail: Share of the worst episodes whose mean return is reported as well, such as 0.2; by objective.
        objectives: Objectives to report returns for.
        features: Folder that keeps a language model's features between runs.
        prior: Folder of values (learn q) of the policy that plays, with which the means of few episodes are
            fused; for games with chance, whose exact values are not known.
    """
    # Help needs no model.
    from pluralign.evaluate.prior_returns import expected_returns, fused_returns
    from pluralign.options.values import ValuePolicy

    game, models = open_story(story), Models(features=features)
    values = (
        None
        if prior is None
        else open_trained(prior, models, ValuePolicy, refusal="holds no values of learn q", field="prior")
    )
    result = evaluate_policy(
        game.make_game,
        _policy(policy, policies, weights, power, models),
        episodes=episodes,
        seed=seed,
        objectives=game.info.select(objectives),
        greedy=greedy,
    )
    tails = {} if tail is None else result.tails(tail)
    share = "" if tail is None else f"worst {100 * tail:g}%"
    _say_returns(result, story, {f"{name} ({share})": value for name, value in tails.items()})
    fused = {} if values is None else fused_returns(
        result, expected_returns(values, game.make_game, episodes=episodes, seed=seed)
    )  # fmt: skip
    for name, one in fused.items():
        say(f"  {name + ' (with the prior)':24}{one.fused:9.2f}   the prior is {one.prior:.2f}")
    other = prior is not None and (not policy or Path(policy).resolve() != prior.resolve())
    if other:
        say(
            f"  the prior has the values of {prior}, which is not the policy that plays: fused means are "
            "wrong as far as the returns of the two differ"
        )
    return {
        "policy": result.name,
        **({"prior_of_another_policy": other} if fused else {}),
        "story": story,
        "episodes": result.episodes,
        **({"fused": {name: asdict(one) for name, one in fused.items()}} if fused else {}),
        "returns": {name: asdict(value) for name, value in result.returns.items()},
        "metrics": {name: asdict(value) for name, value in result.metrics.items()},
        **({} if tail is None else {"tail": tail, "tails": {name: asdict(v) for name, v in tails.items()}}),
    }


def _say_returns(result: PolicyResult, story: str, more: Mapping[str, Estimate]) -> None:
    say(f"{result.name} on {story}, {result.episodes} episodes: mean and 95 % interval")
    metrics = {f"{name} (metric)": result.metrics[name] for name in HEADLINES}
    for name, value in {**result.returns, **metrics, **more}.items():
        say(f"  {name:24}{value.mean:9.2f}   {value.low:.2f} to {value.high:.2f}")


def _policy(policy: str, policies: tuple[str, ...], weights: str, power: float, models: Models) -> Policy:
    if bool(policy) == bool(policies):
        raise InputError("give either --policy, or --policies with --weights", field="policy")
    if policy:
        if weights or power != GEOMETRIC:
            raise InputError("requires --policies", field="weights" if weights else "power")
        return open_policy(policy, models)
    folders = named_folders(policies, "policies")
    return steered(load_agents(folders, models), constant_weights(weights), power)
