"""Behaviour cloning: a policy that imitates trajectories."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError, Objective, Trajectory
from pluralign.core.checks import checked, require_seed
from pluralign.core.returns import TIE, last_reward_known, returns_to_go
from pluralign.learn.engine import train_phase
from pluralign.learn.options.modules import BehaviourCloning
from pluralign.learn.options.policies import Learned, finish, make_card, make_scorer
from pluralign.learn.options.settings import BCConfig
from pluralign.learn.options.tables import (
    DecisionIndex,
    TrajectoryTable,
    encode_trajectories,
    table_digest,
)
from pluralign.learn.phase import Phase
from pluralign.learn.run_folder import claim_folder
from pluralign.lm.tensors import trains
from pluralign.losses.siblings import advantage_weights, sibling_advantages
from pluralign.options.checkpoint import describe_source
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy


@checked
@trains
def fit_bc(
    trajectories: Sequence[Trajectory],
    *,
    store: FeatureSource,
    out: str | Path,
    objective: Objective | None = None,
    config: BCConfig | None = None,
    seed: int = 0,
    name: str = "bc",
    provenance: Mapping[str, Any] | None = None,
) -> OptionPolicy:
    """Train a policy on trajectories by maximum likelihood (`losses.behaviour_cloning_loss`).

    With an objective, steps are weighted by min(exp(A / beta), 100), with A the advantage of the option over
    the others that episodes took at the same decision (`losses.siblings`): what did better than its siblings
    is imitated more. Steps of truncated episodes, whose returns are not known, are then left out.

    If interrupted and called again with the same arguments, training continues where it stopped and ends with
    the same weights.

    Args:
        trajectories: Trajectories; all steps are imitated.
        objective: Objective of the advantages; None imitates all steps alike.
        store: Features of the decisions.
        out: Folder to write.
        config: See `BCConfig`.
        seed: Random seed of weights and data order.
        name: Name of the policy in reports.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: No trajectories, a temperature without an objective, or ``out`` holds another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=[score]))
        >>> store = pl.Models("tiny-random").store
        >>> agent = pl.fit_bc(played, store=store, out="agent", config=pl.learn.BCConfig(steps=5))
        >>> first = played[0].steps[0].decision
        >>> len(agent.log_probs([first])[0]) == len(first.options)
        True
    """
    require_seed(seed)
    started, config = time.monotonic(), config or BCConfig()
    if not trajectories:
        raise InputError("there is no step to learn from", path=(provenance or {}).get("file"))
    index = DecisionIndex()
    table = encode_trajectories(trajectories, index)
    digest = table_digest((table.states, table.actions), index.decisions)
    settings = dataclasses.asdict(config)
    weights = None
    if objective is None:
        if config.beta != BCConfig.beta:
            raise InputError("weighs steps by the advantages of an objective; give one", field="beta")
        # Runs that do not weigh steps are recorded as before there was a temperature.
        settings.pop("beta")
    else:
        weights = step_weights(trajectories, objective, table, config.beta)
        digest = table_digest((table.states, table.actions, weights), index.decisions)
    run = {"method": "bc", "config": settings, "data": digest, "seed": seed}
    aim = {} if objective is None else {"objective": objective.name}
    claim_folder(Path(out), {**run, **aim, "backbone": describe_source(store)})
    scorer = make_scorer(index.decisions, store, hidden=config.hidden, lora_rank=config.lora_rank, seed=seed)
    phase = Phase(
        "behaviour cloning", Path(out) / "checkpoints" / "bc", len(table), config.steps,
        config.batch_size, config.learning_rate, config.weight_decay, seed,
    )  # fmt: skip
    curve = train_phase(BehaviourCloning(scorer, table, weights), phase)
    data = {
        **(provenance or {}),
        "digest": digest,
        "trajectories": len(trajectories),
        "steps": len(table),
        "decisions": len(index.decisions),
    }
    card = make_card(
        "bc",
        **aim,
        seed=seed,
        config=settings,
        data=data,
        store=store,
        figures={"curve": curve},
        started=started,
    )
    return finish(Learned(scorer, card, name), store, Path(out))


def step_weights(
    trajectories: Sequence[Trajectory], objective: Objective, table: TrajectoryTable, beta: float
) -> Float[Tensor, " steps"]:
    """Weights of all steps by the advantages of their options over their siblings; 0 in truncated episodes,
    and of last steps whose reward is not known.

    Args:
        trajectories: Episodes.
        objective: Objective of the returns.
        table: All steps of these episodes.
        beta: Temperature, in standard deviations of the advantages.

    Raises:
        InputError: A step has no reward for the objective, or all episodes were cut off.
    """
    returns = [value for trajectory in trajectories for value in returns_to_go(trajectory, objective)]
    ended = torch.tensor([trajectory.terminated for trajectory in trajectories for _ in trajectory.steps])
    if not bool(ended.any()):
        raise InputError("all episodes were cut off, so that no return is known", field="objective")
    lasts = [len(trajectory.steps) for trajectory in trajectories]
    unknown = [not last_reward_known(trajectory, objective) for trajectory in trajectories]
    ended[torch.tensor(lasts).cumsum(0)[torch.tensor(unknown)] - 1] = False
    known = ended.nonzero()[:, 0]
    advantages = sibling_advantages(
        table.states[known], table.actions[known], torch.tensor(returns, dtype=torch.float64)[known]
    )
    spread = float(advantages.std(correction=0))
    weights = torch.zeros(len(table))
    # Where all options do equally well, all are imitated alike.
    weights[known] = advantage_weights(advantages, beta * (spread if spread > TIE else 1.0)).float()
    return weights
