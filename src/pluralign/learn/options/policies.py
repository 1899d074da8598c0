"""What every learner of an option policy shares: its scorer, its card, its checkpoint folder."""

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
    """What training ended with, ready to be written.

    Args:
        scorer: the trained module.
        card: its provenance.
        name: how reports call the policy.
    """

    scorer: AnyScorer
    card: Card
    name: str


def make_scorer(
    decisions: Sequence[Decision], store: FeatureSource, *, hidden: int, lora_rank: int, seed: int
) -> AnyScorer:
    """A head on frozen features, or, with ``lora_rank``, on a trunk that learns too."""
    if lora_rank:
        return AdaptedScorer(decisions, store, hidden, lora_rank, seed)
    return FrozenScorer(decisions, store, hidden, seed)


def finish(learned: Learned, store: FeatureSource, out: Path) -> OptionPolicy:
    """Write the policy's folder and give the policy as `load_policy` reads it."""
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
    """The card of a policy that was trained now.

    Args:
        method: ``bc`` or ``cpl``.
        objective: its name, or empty.
        seed: of the training.
        config: the method's fields.
        data: provenance and counts.
        store: the features.
        figures: what was measured.
        started: ``time.monotonic()`` at the beginning, for the seconds.
    """
    figures = {**figures, "seconds": round(time.monotonic() - started, 2)}
    return Card(method, objective, seed, config, data, describe_source(store), figures, current_versions())


def reference_table(
    policy: OptionPolicy, decisions: Sequence[Decision]
) -> Float[Tensor, "decisions options"]:
    """log pi_ref of every option of every decision, zeros where there is none."""
    rows = [torch.from_numpy(row).float() for row in policy.log_probs(decisions)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
