"""Parts that all trainers of option policies share: scorer, card, checkpoint folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import Decision
from pluralign.folders.card import Card, current_versions
from pluralign.learn.options.scorers import AdaptedScorer, AnyScorer, FrozenScorer
from pluralign.options.checkpoint import describe_source, load_policy, save_policy
from pluralign.options.features import FeatureSource
from pluralign.options.option_policy import OptionPolicy


@dataclass(frozen=True)
class Learned:
    """Result of training, ready to be written.

    Args:
        scorer: Trained module.
        card: Card of the policy.
        name: Name of the policy in reports.
    """

    scorer: AnyScorer
    card: Card
    name: str


def make_scorer(
    decisions: Sequence[Decision], store: FeatureSource, *, hidden: int, lora_rank: int, seed: int
) -> AnyScorer:
    """A head on frozen features or, with ``lora_rank``, on a trunk with a LoRA adapter."""
    if lora_rank:
        return AdaptedScorer(decisions, store, hidden, lora_rank, seed)
    return FrozenScorer(decisions, store, hidden, seed)


def finish(learned: Learned, store: FeatureSource, out: Path) -> OptionPolicy:
    """Write the policy's folder and return the policy as `load_policy` reads it."""
    scorer = learned.scorer
    policy = OptionPolicy(learned.name, scorer.head, store)
    adapter = scorer.model if isinstance(scorer, AdaptedScorer) else None
    save_policy(policy, out, learned.card, adapter=adapter)
    if adapter is not None:
        return load_policy(out)
    scorer.head.cpu()
    return policy


def make_card(
    method: str,
    *,
    objective: str = "",
    seed: int,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    store: FeatureSource,
    figures: Mapping[str, Any],
    started: float,
) -> Card:
    """Card of a policy that was just trained.

    Args:
        method: ``bc`` or ``cpl``.
        objective: Name of the objective, or empty.
        seed: Random seed of the training.
        config: Settings of the method.
        data: Provenance and counts.
        store: Features of the decisions.
        figures: Measurements.
        started: ``time.monotonic()`` at the start, for the duration.
    """
    figures = {**figures, "seconds": round(time.monotonic() - started, 2)}
    return Card(method, objective, seed, config, data, describe_source(store), figures, current_versions())


def reference_table(
    policy: OptionPolicy, decisions: Sequence[Decision]
) -> Float[Tensor, "decisions options"]:
    """log pi_ref of every option of every decision; zeros at padded options."""
    rows = [torch.as_tensor(row).float() for row in policy.log_probs(decisions)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
