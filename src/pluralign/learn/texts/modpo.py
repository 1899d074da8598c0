"""Multi-objective DPO: a policy for one weighting, from one objective's pairs and the others' rewards."""

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
from pluralign.core.checks import checked, require
from pluralign.core.digests import source_digest
from pluralign.core.jsonl import read_rows
from pluralign.core.resumable import run_batches
from pluralign.folders.card import CARD, load_card
from pluralign.learn.engine import processes
from pluralign.learn.methods import METHODS
from pluralign.learn.run_folder import SOURCE
from pluralign.learn.texts.data import split_rows
from pluralign.learn.texts.policies import PreferenceLoss, train_policy
from pluralign.learn.texts.policy_settings import MODPOConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.lm.backbone import Backbone, resolve_dtype
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.tensors import trains
from pluralign.losses.contrastive import labelled_accuracy, modpo
from pluralign.rewards.endpoint import EndpointReward
from pluralign.rewards.function import FunctionReward
from pluralign.rewards.identity import reward_provenance
from pluralign.rewards.open import CLOSED_FORM, load_closed_form, load_reward, require_reward
from pluralign.rewards.reward import Reward, template_of
from pluralign.rewards.reward_model import RewardModel

_BATCH, _LARGEST_SCALE = 64, 1e9


@dataclass(frozen=True, eq=False)
class Margin:
    """Another objective's reward.

    Args:
        scorer: Reward model.
        scale: Factor of the reward (if it is not standardised). For a likelihood ratio, the beta of its
            policy's training gives DPO's implicit reward.
        provenance: Origin of the reward, for the card; another origin makes another run. By default the
            digest of its function, or of its model's card.
    """

    scorer: Reward
    scale: float = 1.0
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        require(self, {"scale": -_LARGEST_SCALE}, {"scale": _LARGEST_SCALE})


@checked
@trains
@folder_optional
def fit_modpo(
    pairs: Sequence[PreferencePair],
    run: Run,
    config: MODPOConfig | None = None,
    *,
    margins: Mapping[str, Margin],
    weights: SteeringWeights,
) -> Backbone:
    """Train a policy for one weighting of several objectives (`losses.contrastive.modpo`).

    The margin rewards of the training pairs are computed once, before training; an interrupted run continues
    where it stopped. Objectives of weight zero are not scored. With all weight on the pairs' own objective,
    this is `fit_dpo`.

    Args:
        pairs: One-step pairs of one objective.
        run: Model (the reference), folder, training options, seed.
        config: See `MODPOConfig`.
        margins: Rewards of the other objectives, by name.
        weights: Weights of the pairs' objective and of all others.

    Returns:
        The policy's language model.

    Raises:
        InputError: The weights name other objectives or give the pairs' objective none, a margin reward is
            not finite or cannot be standardised because it is constant, there is no training pair, or the
            folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> brief = pl.FunctionReward("brief", lambda prompts, texts: [-len(text) for text in texts])
        >>> policy = pl.learn.fit_modpo(
        ...     pairs,
        ...     pl.learn.Run("tiny-random"),
        ...     margins={"brief": pl.learn.Margin(brief)},
        ...     weights=pl.SteeringWeights(agreement=0.7, brief=0.3),
        ... )
        >>> policy.name
        'agreement'
    """
    config = config or MODPOConfig()
    train, _ = split_rows(pairs, run.provenance.get("file"))
    own = train[0].objective
    require_weights(weights, own, margins)
    for name, margin in margins.items():
        if not isinstance(margin, Margin):
            raise InputError(
                f"expected a Margin for '{name}' (open_margin), found {margin!r:.60}", field="margins"
            )
    described = {name: _described(margin) for name, margin in margins.items()}
    settings = {**dataclasses.asdict(config), "weights": dict(weights), "margins": described}
    session = Session("modpo", run, settings, pairs, vocabulary=True, label_weights=True)
    train = [train[number] for number in session.data.kept]
    total, figures = np.zeros((len(train), 2)), dict[str, Any]()
    for number, (name, margin) in enumerate(sorted(margins.items()), start=1):
        if not weights[name]:
            continue
        path = session.out / "checkpoints" / f"margin-{number}.jsonl"
        rewards = _margin_rewards(name, margin, train, path, session.quoted)
        spread = _spread(rewards)
        if config.standardise and not spread:
            raise InputError(f"'{name}' gives both completions of every pair the same reward: no spread")
        total += weights[name] * rewards * (1 / spread if config.standardise else margin.scale)
        agreement = labelled_accuracy(torch.as_tensor(rewards[:, 0] - rewards[:, 1]), session.data.weights)
        figures[name] = {} if agreement is None else {"agreement": round(agreement, 4)}
        figures[name]["spread"] = spread
    weighted = torch.as_tensor(total).float()
    loss = partial(modpo, weight=weights[own], beta=config.beta)
    return train_policy(
        session,
        lambda reference: PreferenceLoss(loss, torch.cat([reference, weighted], dim=1)),
        {"margins": figures},
    )


def open_margin(spec: str, dtype: DTypeName = "float32") -> Margin:
    """Open another objective's reward by name; see `load_reward`.

    The likelihood ratio of a policy is a `policy_margin`.

    Raises:
        InputError: There is no such reward.
    """
    require_reward(spec)
    kind, _, place = spec.partition(":")
    if kind == CLOSED_FORM:
        return policy_margin(place, dtype)
    precision = resolve_dtype(dtype)
    scorer = load_reward(spec, dtype=precision)
    # The card has the figures of its training, so that two states of a folder have different digests.
    known = reward_provenance(spec)
    card_digest, members = (
        known.get("digest", ""),
        [one.get("digest", "") for one in known.get("members", ())],
    )
    if isinstance(scorer, EndpointReward):
        card_digest = scorer.identity["folder"]
    provenance: dict[str, Any] = {"source": spec, "card": card_digest, "dtype": str(precision)}
    return Margin(scorer, provenance=provenance | ({"members": members} if members else {}))


def policy_margin(policy: str | Path, dtype: DTypeName = "float32") -> Margin:
    """The likelihood ratio between a policy of another objective and its base model, as that one's reward.

    If the policy was trained by a method with an implicit reward (on sums over tokens, with a reference), it
    is that reward: times its beta, with the end-of-text token counted.

    Args:
        policy: Folder of the policy.
        dtype: Floating-point type of both models.

    Raises:
        InputError: The folder holds no policy, or its contents are damaged.
    """
    precision, card = resolve_dtype(dtype), load_card(Path(policy))
    implicit = card.method in METHODS and METHODS[card.method].implicit_reward
    # Of means per token, or without a reference, another quantity was learned.
    implicit = implicit and not card.config.get("per_token") and card.config.get("reference", True)
    scorer = load_closed_form(policy, ends=implicit, dtype=precision)
    provenance: dict[str, Any] = {
        "source": f"{CLOSED_FORM}:{policy}",
        "card": source_digest(Path(policy) / CARD).get("file_digest", ""),
        "dtype": str(precision),
    }
    return Margin(scorer, float(card.config["beta"]) if implicit else 1.0, provenance)


def require_weights(weights: SteeringWeights, own: str, others: Iterable[str]) -> None:
    """Check the weights for preferences about one objective and rewards of the others.

    Raises:
        InputError: The weights name other objectives, or the preferences' objective has no weight.
    """
    names = list(others)
    if own in names:
        raise InputError(f"'{own}' is what the pairs are about; give the others' rewards", field="margins")
    weights.require_known([own, *names])
    for name in (own, *names):
        if name not in weights:
            raise InputError(f"no weight for '{name}'", field="weights")
    if not weights[own]:
        raise InputError(f"'{own}' is what the pairs are about; its weight must be above 0", field="weights")


def _described(margin: Margin) -> dict[str, Any]:
    """What distinguishes a margin from others, for the card."""
    found = {"scorer": margin.scorer.name, "scale": margin.scale, **margin.provenance}
    if margin.provenance or not isinstance(margin.scorer, FunctionReward | RewardModel):
        return found
    own = reward_provenance(margin.scorer).get("digest")
    return {**found, **({f"scorer{SOURCE}": own} if own else {})}


def _spread(rewards: npt.NDArray[np.float64]) -> float:
    """Standard deviation around the pairs' means; for pairs with a common prompt as in `measure_scales`."""
    return float(np.sqrt(((rewards - rewards.mean(axis=1, keepdims=True)) ** 2).mean()))


def _margin_rewards(
    name: str, margin: Margin, pairs: Sequence[PreferencePair], path: Path, quoted: bool
) -> npt.NDArray[np.float64]:
    """Rewards of each pair's chosen and rejected completion, shape (pairs, 2); cached in a file."""
    with processes().main_process_first():
        if processes().is_main_process and not path.exists():
            _score(name, margin.scorer, pairs, path, quoted)
    return np.array([pair for fields in read_rows(path) for pair in fields.get("rewards", list)])


def _score(name: str, scorer: Reward, pairs: Sequence[PreferencePair], path: Path, quoted: bool) -> None:
    starts, template = range(0, len(pairs), _BATCH), template_of(scorer)

    def score(batch: Sequence[int]) -> list[dict[str, Any]]:
        (first,) = batch
        some = pairs[first : first + _BATCH]
        decisions = [decision for pair in some for decision in pair.decisions()]
        if not quoted:
            decisions = [template.quote(decision) for decision in decisions]
        scored = scorer.score_decisions(decisions)
        rewards = np.concatenate([own.mean for own in scored]).reshape(-1, 2)
        for number, pair in enumerate(rewards.tolist(), start=first + 1):
            if not np.isfinite(pair).all():
                raise InputError(f"rewards of '{name}' are not numbers in training pair {number}: {pair}")
        return [{"rewards": rewards.tolist()}]

    # A row of the file holds the rewards of a whole batch of pairs.
    run_batches(
        path, {"margin": name}, starts, score, batch=1, label=f"rewards by {name}", unit="pair",
        size=lambda first: min(_BATCH, len(pairs) - first),
    )  # fmt: skip
