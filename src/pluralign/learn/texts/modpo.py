"""Multi-objective DPO: a policy for one weighting, of one objective's pairs and the others' rewards."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pluralign.core import InputError, PreferencePair, SteeringWeights
from pluralign.core.checks import require
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.learn.engine import processes
from pluralign.learn.texts.data import split_rows
from pluralign.learn.texts.policies import PreferenceLoss, train_policy
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.lm.backbone import Backbone
from pluralign.losses.contrastive import modpo
from pluralign.rewards import Reward

_BATCH = 64


@dataclass(frozen=True)
class MODPOConfig:
    """How `fit_modpo` learns.

    Args:
        beta: Temperature of the implicit reward, which here is the weighted sum of all rewards (Zhou et al.
            2024: 0.1).
        standardise: Whether each margin reward is divided by its standard deviation within the training
            pairs: for rewards in units of their own. Off (theirs), because the loss takes the rewards that it
            adds up for log-odds of a preference, which Bradley-Terry's and DPO's implicit rewards are as they
            stand.
    """

    beta: float = 0.1
    standardise: bool = False

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9})


@dataclass(frozen=True, eq=False)
class Margin:
    """Another objective's reward.

    Args:
        scorer: what gives it.
        scale: it is multiplied by this (where it is not standardised). A likelihood ratio becomes DPO's
            implicit reward by the beta that its policy was trained with.
        provenance: where it comes from, for the card; another one is another run.
    """

    scorer: Reward
    scale: float = 1.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])


@folder_optional
def fit_modpo(
    pairs: Sequence[PreferencePair],
    run: Run,
    config: MODPOConfig | None = None,
    *,
    margins: Mapping[str, Margin],
    weights: SteeringWeights,
) -> Backbone:
    """Learn a policy for one weighting of several objectives (`losses.contrastive.modpo`).

    The margin rewards of the training pairs are computed once, before training; an interrupted run goes on
    where it stopped. An objective of weight zero is not scored, and with all the weight on the pairs' own
    this is `fit_dpo`.

    Args:
        pairs: one-step pairs of one objective.
        run: model (the reference), folder, training, seed.
        config: see `MODPOConfig`.
        margins: the other objectives' rewards, by name.
        weights: of the pairs' objective and all of these.

    Returns:
        The policy's language model.

    Raises:
        InputError: weights of other objectives, or none on the pairs'; a margin reward that is not a number,
            or has no spread to be divided by; no training pair, or the folder holds another run.
    """
    config = config or MODPOConfig()
    train, _ = split_rows(pairs)
    own = train[0].objective
    require_weights(weights, own, margins)
    described = {
        name: {"scorer": margin.scorer.name, "scale": margin.scale, **margin.provenance}
        for name, margin in margins.items()
    }
    settings = {**dataclasses.asdict(config), "weights": dict(weights), "margins": described}
    session = Session("modpo", run, settings, pairs, vocabulary=True, label_weights=True)
    train = [train[number] for number in session.data.kept]
    total, figures = np.zeros((len(train), 2)), dict[str, Any]()
    for number, (name, margin) in enumerate(sorted(margins.items()), start=1):
        if not weights[name]:
            continue
        rewards = _margin_rewards(name, margin, train, session.out / "checkpoints" / f"margin-{number}.jsonl")
        spread = _spread(rewards)
        if config.standardise and not spread:
            raise InputError(f"'{name}' rewards both completions of every pair alike: it has no spread")
        total += weights[name] * rewards * (1 / spread if config.standardise else margin.scale)
        gaps = rewards[:, 0] - rewards[:, 1]
        agreement = float((gaps > 0).mean() + 0.5 * (gaps == 0).mean())
        figures[name] = {"agreement": round(agreement, 4), "spread": spread}
    weighted = torch.from_numpy(total).float()
    loss = partial(modpo, weight=weights[own], beta=config.beta)
    return train_policy(
        session,
        lambda reference: PreferenceLoss(loss, torch.cat([reference, weighted], dim=1)),
        {"margins": figures},
    )


def require_weights(weights: SteeringWeights, own: str, others: Iterable[str]) -> None:
    """Check weights for preferences about one objective and rewards of others.

    Raises:
        InputError: they are not on exactly these objectives, or the preferences' own has none.
    """
    names = list(others)
    if own in names:
        raise InputError(f"'{own}' is what the pairs are about; give the others' rewards", field="margins")
    weights.require_known([own, *names])
    for name in (own, *names):
        if name not in weights:
            raise InputError(f"there is none of '{name}'", field="weights")
    if not weights[own]:
        raise InputError(f"'{own}', which the pairs are about, needs more than 0", field="weights")


def _spread(rewards: npt.NDArray[np.float64]) -> float:
    """Standard deviation around the pairs' means; for pairs of one prompt, what `measure_scales` measures."""
    return float(np.sqrt(((rewards - rewards.mean(axis=1, keepdims=True)) ** 2).mean()))


def _margin_rewards(
    name: str, margin: Margin, pairs: Sequence[PreferencePair], path: Path
) -> npt.NDArray[np.float64]:
    """Rewards of each pair's chosen and rejected completion, shape (pairs, 2); kept in a file."""
    with processes().main_process_first():
        if processes().is_main_process and not path.exists():
            _score(name, margin.scorer, pairs, path)
    return np.array([pair for fields in read_rows(path) for pair in fields.get("rewards", list)])


def _score(name: str, scorer: Reward, pairs: Sequence[PreferencePair], path: Path) -> None:
    starts = range(0, len(pairs), _BATCH)

    def score(batch: Sequence[int]) -> list[dict[str, Any]]:
        (first,) = batch
        some = pairs[first : first + _BATCH]
        scored = scorer.score_decisions([decision for pair in some for decision in pair.decisions()])
        rewards = np.concatenate([own.mean for own in scored]).reshape(-1, 2)
        for number, pair in enumerate(rewards.tolist(), start=first + 1):
            if not np.isfinite(pair).all():
                raise InputError(f"rewards by '{name}' are not numbers in training pair {number}: {pair}")
        return [{"rewards": rewards.tolist()}]

    # A row of the file holds the rewards of a whole batch of pairs.
    run_batches(
        path, {"margin": name}, starts, score, batch=1, label=f"rewards by {name}", unit="pair",
        size=lambda first: min(_BATCH, len(pairs) - first),
    )  # fmt: skip
