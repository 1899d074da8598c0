"""Offline Q-learning over listed options: values of every objective from recorded episodes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from pluralign.core import Decision, InputError, Objective, Policy, SteeringWeights, Trajectory
from pluralign.core.checks import checked, require_seed
from pluralign.core.objective import require_goals
from pluralign.learn.engine import train_phase
from pluralign.learn.options.policies import make_card
from pluralign.learn.options.q_learning import QConfig, ValueLearning
from pluralign.learn.options.q_table import ValueTable, encode_values, scaled_rewards
from pluralign.learn.options.tables import DecisionIndex, table_digest
from pluralign.learn.phase import Phase
from pluralign.learn.run_folder import claim_folder
from pluralign.lm.tensors import trains
from pluralign.options.checkpoint import describe_source
from pluralign.options.features import FeatureSource
from pluralign.options.values import HeadShape, ValueHead, ValuePolicy, ValueUnits

__all__ = ["QConfig", "belief", "fit_q"]


@checked
@trains
def fit_q(
    trajectories: Sequence[Trajectory], *, store: FeatureSource, out: str | Path,
    objectives: Sequence[Objective], objective: str = "", config: QConfig | None = None,
    reference: Policy | None = None, seed: int = 0, name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> ValuePolicy:  # fmt: skip
    """Learn Q-values of every objective from recorded episodes, without play.

    target(t) = r_t + ... + value(s_{t+n}), by the backups of `losses.offline_q`. The agent of one objective
    chooses by that objective and knows the values of all, so that several agents can be steered by
    generalised policy improvement (`steer.value_steered`). Without ``objective``, one model reads the weights
    and serves all of them.

    If interrupted and called again with the same arguments, training continues where it stopped and ends with
    the same weights.

    Args:
        trajectories: Episodes; counts or rewards of their steps are read.
        store: Features of the decisions.
        out: Folder to write.
        objectives: Objectives whose values are learned.
        objective: Name of the one that the agent pursues; empty for a model of any weights.
        config: See `QConfig`.
        reference: Policy whose greedy option the backup ``reference`` continues with.
        seed: Random seed of initial weights, data order and drawn weights.
        name: Name of the policy in reports; by default the objective or ``values``.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: No trajectories or objectives, a step has no reward for an objective, the backup and the
            reference do not match, or ``out`` holds another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> goals = game.info.select(["score", "harm_avoidance"])
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=3, seed=0, objectives=goals))
        >>> store = pl.Models("tiny-random").store
        >>> config = pl.learn.QConfig(steps=5)
        >>> values = pl.fit_q(played, store=store, out="values", objectives=goals, config=config)
        >>> values.with_weights(pl.SteeringWeights(score=0.3, harm_avoidance=0.7)).objectives
        ('score', 'harm_avoidance')
    """
    require_seed(seed)
    started, config = time.monotonic(), config or QConfig()
    require_goals(objectives)
    names = [one.name for one in objectives]
    _check(trajectories, names, objective, config, reference, (provenance or {}).get("file"))
    rewards, scales = scaled_rewards(trajectories, objectives)
    index = DecisionIndex()
    table = encode_values(trajectories, index, rewards, config.n, config.gamma, objectives)
    greedy = None if reference is None else _greedy(reference, index.decisions)
    columns = [getattr(table, field.name) for field in dataclasses.fields(table)]
    digest = table_digest(columns if greedy is None else [*columns, greedy], index.decisions)
    settings = dataclasses.asdict(config)
    run = {"method": "q", "config": settings, "data": digest, "seed": seed}
    described = {"objectives": names, "objective": objective}
    claim_folder(Path(out), {**run, **described, "backbone": describe_source(store)})
    shape = HeadShape(store.dimension, len(names), config.hidden, config.heads, conditioned=not objective)
    own = SteeringWeights.one_hot(objective, names) if objective else SteeringWeights.uniform(names)
    fixed = torch.tensor(own.aligned_to(names), dtype=torch.float32) if objective else None
    module = ValueLearning(
        ValueHead(shape, seed), index.decisions, store, table, config,
        weights=fixed, reference=greedy, seed=seed,
    )  # fmt: skip
    phase = Phase(
        "Q-values", Path(out) / "checkpoints" / "q", len(table), config.steps,
        config.batch_size, config.learning_rate, config.weight_decay, seed,
    )  # fmt: skip
    curve = train_phase(module, phase)
    units = ValueUnits(tuple(names), scales, config.temperature, config.unseen != "free")
    policy = ValuePolicy(name or objective or "values", module.head.cpu(), store, units, own)
    data = {
        **(provenance or {}), "digest": digest, "trajectories": len(trajectories), "steps": len(table),
        "decisions": len(index.decisions), **_tried(table, index.decisions),
    }  # fmt: skip
    firsts = list({one.steps[0].decision.key: one.steps[0].decision for one in trajectories}.values())
    card = make_card(
        "q", objective=objective, seed=seed, config=settings, data=data, store=store,
        figures={"curve": curve, "belief": belief(policy, firsts)}, started=started,
    )  # fmt: skip
    policy.save(out, card)
    return policy


def belief(policy: ValuePolicy, decisions: Sequence[Decision]) -> dict[str, float]:
    """The returns that a policy expects, by objective, as means over first decisions.

    Args:
        policy: The policy.
        decisions: Decisions that episodes begin with.
    """
    values, log_probs = policy.values(decisions), policy.log_probs(decisions)
    expected = np.mean([np.exp(p) @ v for p, v in zip(log_probs, values, strict=True)], axis=0)
    return {name: float(value) for name, value in zip(policy.objectives, expected, strict=True)}


def _check(
    trajectories: Sequence[Trajectory], names: Sequence[str], objective: str, config: QConfig,
    reference: Policy | None, path: Any,
) -> None:  # fmt: skip
    if not trajectories:
        raise InputError("there is no trajectory to learn from", path=path)
    if not names or len(set(names)) < len(names):
        raise InputError("expected one or more different objectives", field="objectives")
    if objective and objective not in names:
        raise InputError(f"must be one of {', '.join(names)}, found {objective!r}", field="objective")
    if (config.backup == "reference") != (reference is not None):
        raise InputError(
            "the backup 'reference' and a reference policy are given together or not at all",
            field="reference",
        )


def _greedy(reference: Policy, decisions: Sequence[Decision]) -> Int[Tensor, " decisions"]:
    return torch.tensor([int(row.argmax()) for row in reference.log_probs(decisions)])


def _tried(table: ValueTable, decisions: Sequence[Decision]) -> dict[str, int]:
    """Number of options of all decisions, and of those that the data took."""
    return {
        "options": sum(len(decision.options) for decision in decisions),
        "options_tried": int((table.shares > 0).sum()),
    }
