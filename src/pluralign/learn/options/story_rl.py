"""A policy over a story's options for one weighting of several objectives, by a policy gradient."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pluralign.core import InputError, Objective, UniformPolicy
from pluralign.core.checks import checked, require_seed
from pluralign.core.locks import only_one_in
from pluralign.core.objective import require_goals
from pluralign.games.game import Game
from pluralign.games.random_play import play_digest
from pluralign.learn.combination import Combination, Combine
from pluralign.learn.options.continuations import Player
from pluralign.learn.options.policies import make_card
from pluralign.learn.options.story_rounds import STATE, StoryRLConfig, StoryRounds
from pluralign.learn.options.tables import table_digest
from pluralign.learn.run_folder import claim_folder, own_source
from pluralign.learn.weighting import Weighting, require_objectives
from pluralign.lm.tensors import trains
from pluralign.losses.advantages import centred_sum, fused_sum
from pluralign.options.checkpoint import describe_source, save_policy
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy


@checked
@trains
def fit_story_rl(
    make_game: Callable[[], Game],
    *,
    objectives: Sequence[Objective],
    store: FeatureSource,
    out: str | Path,
    weighting: Weighting,
    config: StoryRLConfig | None = None,
    combine: Combine = centred_sum,
    initial: OptionPolicy | None = None,
    seed: int = 0,
    name: str = "story-rl",
    provenance: Mapping[str, Any] | None = None,
) -> OptionPolicy:
    """Train a policy over listed options for one weighting of a game's objectives, or for targets on their
    mean returns.

    A decision is the prompt, continuations from its restored state are the samples, and returns of the whole
    episode are the rewards. Each round plays episodes, draws decisions from all that were met, plays
    ``samples`` continuations of each, and takes one gradient step on all actions of the continuations with
    the advantages of `learn.combination.Combination`, as on the tokens of completions. The divergence from
    the policy before training is that of whole episodes. Weightings observe the round's episodes as one
    group.

    A head is trained on frozen features. If interrupted and called again with the same arguments, training
    continues after the last measurement and ends with the same weights.

    Args:
        make_game: Function that makes a game.
        objectives: Objectives of the weighting.
        store: Features of the decisions.
        out: Folder to write.
        weighting: Weights of standardised returns; see `learn.texts.rl.fit_rl`.
        config: See `StoryRLConfig`.
        combine: Combination of returns (`losses.advantages`).
        initial: Policy to start from, and to stay near; by default random play.
        seed: Random seed of weights and play.
        name: Name of the policy in reports.
        provenance: Further data for the card.

    Raises:
        InputError: The combination would cancel what the weighting or a setting says, an objective has no
            weight or a constant return, the policy to start from has other features, the game has an error,
            or ``out`` holds another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> both = game.info.select(["score", "harm_avoidance"])
        >>> store = pl.Models("tiny-random").store
        >>> agent = pl.fit_story_rl(
        ...     game.make_game, objectives=both, store=store, out="agent",
        ...     weighting=pl.learn.Fixed(pl.SteeringWeights(score=0.5, harm_avoidance=0.5)),
        ...     config=pl.learn.StoryRLConfig(rounds=1, episodes=2, decisions=2, samples=2),
        ... )
        >>> agent.name
        'story-rl'
    """
    require_seed(seed)
    started, config, out = time.monotonic(), config or StoryRLConfig(), Path(out)
    require_goals(objectives)
    combination = Combination(combine, config.kl, config.tail)
    require_objectives(weighting, [objective.name for objective in objectives])
    combination.require(weighting)
    if combine is fused_sum and config.decisions < 2:
        raise InputError("fused_sum needs two or more, whose means are each other's prior", field="decisions")
    if initial is not None and initial.source.fingerprint != store.fingerprint:
        raise InputError("has features of another model", field="initial")
    record = _record(make_game(), objectives, store, weighting, config, combination, initial, seed)
    claim_folder(out, record)
    ordered = {objective.name: objective for objective in objectives}
    run = StoryRounds(
        Player(
            make_game, [ordered[one] for one in weighting.objectives], initial or UniformPolicy(),
            config.max_steps,
        ),
        store, weighting, combination, config, initial, seed, out / "checkpoints" / STATE,
    )  # fmt: skip
    with only_one_in(out / "checkpoints"):
        run.train()
    figures = {**run.headlines, "curve": run.rows}
    data = {**(provenance or {}), "story": record["story"], "episodes": run.rows[-1]["samples"]}
    card = make_card(
        "story-rl", seed=seed, config=record["config"], data=data, store=store, figures=figures,
        started=started,
    )  # fmt: skip
    policy = OptionPolicy(name, run.head, store)
    save_policy(policy, out, card)
    return policy


def _record(
    game: Game, objectives: Sequence[Objective], store: FeatureSource, weighting: Weighting,
    config: StoryRLConfig, combination: Combination, initial: OptionPolicy | None, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What distinguishes this run from others."""
    settings = {
        **dataclasses.asdict(config), "combine": getattr(combination.combine, "__name__", "custom"),
        **own_source("combine", combination.combine),
        "weighting": weighting.describe(), "objectives": [one.to_json() for one in objectives],
    }  # fmt: skip
    begins = None
    if initial is not None:
        begins = table_digest(list(initial.head.state_dict().values()), [])
    return {
        "method": "story-rl", "config": settings, "seed": seed, "story": game.info.name,
        "play": play_digest(game), "labels": game.info.labels, "backbone": describe_source(store),
        "initial": begins,
    }  # fmt: skip
