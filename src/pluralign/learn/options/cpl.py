"""Contrastive preference learning: one policy per objective from preference pairs, without a reward model."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError, PreferencePair, Trajectory
from pluralign.core.checks import checked, require_seed
from pluralign.learn.engine import train_phase
from pluralign.learn.options.modules import (
    BehaviourCloning,
    ContrastivePreference,
    pair_accuracy,
)
from pluralign.learn.options.policies import (
    Learned,
    finish,
    make_card,
    make_scorer,
    reference_table,
)
from pluralign.learn.options.scorers import AnyScorer
from pluralign.learn.options.settings import CPLConfig
from pluralign.learn.options.tables import (
    DecisionIndex,
    PairTable,
    TrajectoryTable,
    encode_pairs,
    encode_steps,
    encode_trajectories,
    steps_of_pairs,
    table_digest,
)
from pluralign.learn.phase import Phase
from pluralign.learn.run_folder import claim_folder
from pluralign.lm.tensors import trains
from pluralign.options.checkpoint import describe_source
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy


@dataclass(frozen=True, eq=False)
class CPLData:
    """Pairs of one objective as tables.

    Args:
        index: Numbers of the decisions.
        pairs: Training pairs.
        validation: Validation pairs.
        warm_up: Steps of the warm-up.
        objective: Name of the objective.
        digest: Digest of what is learned from.
    """

    index: DecisionIndex
    pairs: PairTable
    validation: PairTable | None
    warm_up: TrajectoryTable
    objective: str
    digest: str


@checked
@trains
def fit_cpl(
    pairs: Sequence[PreferencePair],
    *,
    store: FeatureSource,
    out: str | Path,
    config: CPLConfig | None = None,
    trajectories: Sequence[Trajectory] | None = None,
    reference: OptionPolicy | None = None,
    seed: int = 0,
    name: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> OptionPolicy:
    """Train one objective's policy on its preference pairs (`losses.contrastive.cpl_loss`).

    Behaviour cloning comes first, then the contrastive loss with a new optimizer. If interrupted and called
    again with the same arguments, training continues where it stopped and ends with the same weights.

    Args:
        pairs: Pairs of one objective. The split ``train`` is used for training and ``validation`` for the
            accuracy on the card; ``test`` is not used.
        store: Features of the decisions.
        out: Folder to write.
        config: See `CPLConfig`.
        trajectories: Data of the warm-up; by default all steps of the training pairs, each once.
        reference: Reference policy of CPL-KL; by default the policy after the warm-up.
        seed: Random seed of weights and data order.
        name: Name of the policy in reports; the objective's by default.
        provenance: File and digest of the data, for the card.

    Raises:
        InputError: No training pairs, several objectives, a reference without ``kl``, or ``out`` holds
            another run.

    Examples:
        >>> import pluralign as pl
        >>> game = pl.open_story("salt_ledger")
        >>> score = game.info.objective("score")
        >>> random = pl.UniformPolicy()
        >>> played = list(pl.roll_out(game.make_game, random, episodes=20, seed=0, objectives=[score]))
        >>> store = pl.Models("tiny-random").store
        >>> compared = pl.make_comparisons(played, count=50, seed=0)
        >>> rated = zip(compared, pl.Oracle(played).rate(compared, score))
        >>> said = [pl.Annotation(pair, "score", "oracle", rating.preference) for pair, rating in rated]
        >>> pairs = pl.make_pairs(said, ties="soft")
        >>> agent = pl.fit_cpl(pairs, store=store, out="agent", config=pl.learn.CPLConfig(steps=5))
        >>> first = played[0].steps[0].decision
        >>> len(agent.log_probs([first])[0]) == len(first.options)
        True
    """
    require_seed(seed)
    started, config = time.monotonic(), config or CPLConfig()
    if reference is not None and not config.kl:
        raise InputError("a reference policy was given, but kl is off", field="kl")
    data = encode_cpl(pairs, trajectories, DecisionIndex())
    anchor = None if reference is None else reference_table(reference, data.index.decisions)
    settings = dataclasses.asdict(config)
    run = {
        "method": "cpl",
        "config": settings,
        "data": data.digest,
        "seed": seed,
        "backbone": describe_source(store),
        "reference": None if anchor is None else table_digest([anchor], []),
    }
    claim_folder(Path(out), run)
    scorer = make_scorer(
        data.index.decisions, store, hidden=config.hidden, lora_rank=config.lora_rank, seed=seed
    )
    curves = _train(scorer, data, config, anchor, Path(out), seed)
    card = make_card(
        "cpl",
        objective=data.objective,
        seed=seed,
        config=settings,
        data={**(provenance or {}), **counts_of(data)},
        store=store,
        figures={**curves, **accuracies(scorer, data, config.gamma)},
        started=started,
    )
    return finish(Learned(scorer, card, name or data.objective), store, Path(out))


def encode_cpl(
    pairs: Sequence[PreferencePair], trajectories: Sequence[Trajectory] | None, index: DecisionIndex
) -> CPLData:
    """Pairs of one objective, and the steps of its warm-up, as tables.

    Args:
        pairs: Pairs of all splits.
        trajectories: Data of the warm-up; by default all steps of the training pairs, each once.
        index: Numbers of decisions, which this fills.

    Raises:
        InputError: There is no training pair, or there are several objectives.
    """
    train = [pair for pair in pairs if pair.split == "train"]
    held_out = [pair for pair in pairs if pair.split == "validation"]
    table = encode_pairs(train, index)
    validation = encode_pairs(held_out, index) if held_out else None
    warm_up = (
        encode_steps(steps_of_pairs(train), index)
        if trajectories is None
        else encode_trajectories(trajectories, index)
    )
    tensors = [table.states, table.actions, table.mask, table.weights, warm_up.states, warm_up.actions]
    digest = table_digest(tensors, index.decisions)
    return CPLData(index, table, validation, warm_up, train[0].objective, digest)


def _train(
    scorer: AnyScorer,
    data: CPLData,
    config: CPLConfig,
    anchor: Float[Tensor, "decisions options"] | None,
    out: Path,
    seed: int,
) -> dict[str, Any]:
    numbers = (config.batch_size, config.learning_rate, config.weight_decay, seed)
    folder = out / "checkpoints"
    warm_up = Phase("warm-up", folder / "warm_up", len(data.warm_up), config.warm_up_steps, *numbers)
    warm_up_curve = train_phase(BehaviourCloning(scorer, data.warm_up), warm_up)
    if config.kl and anchor is None:
        anchor = log_probs_of(scorer)
    module = ContrastivePreference(scorer, data.pairs, config.contrast, anchor)
    steps = config.steps - config.warm_up_steps
    curve = train_phase(module, Phase("contrast", folder / "cpl", len(data.pairs), steps, *numbers))
    return {"warm_up_curve": warm_up_curve, "curve": curve}


@torch.no_grad()
def log_probs_of(scorer: AnyScorer) -> Float[Tensor, "decisions options"]:
    """log pi of every option of every decision, on the CPU."""
    return scorer.all_log_probs().cpu()


def accuracies(scorer: AnyScorer, data: CPLData, gamma: float) -> dict[str, float | None]:
    """Accuracies on the training pairs and, if there are any, on the validation pairs."""
    log_probs = log_probs_of(scorer)
    figures = {"train_accuracy": pair_accuracy(log_probs, data.pairs, gamma)}
    if data.validation is not None:
        figures["validation_accuracy"] = pair_accuracy(log_probs, data.validation, gamma)
    return figures


def counts_of(data: CPLData) -> dict[str, Any]:
    """Digest and numbers of rows, for the card."""
    return {
        "digest": data.digest,
        "pairs": len(data.pairs),
        "ties": data.pairs.ties,
        "validation_pairs": 0 if data.validation is None else len(data.validation),
        "warm_up_steps": len(data.warm_up),
        "decisions": len(data.index.decisions),
    }
