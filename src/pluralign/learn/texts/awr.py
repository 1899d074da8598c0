"""Advantage-weighted cloning of scored samples: each token by its advantage over its siblings."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.policy_settings import AWRConfig
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.scored import as_demonstrations, require_scored
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss, map_rows
from pluralign.lm.backbone import Backbone
from pluralign.lm.tensors import to_list, trains
from pluralign.lm.vocabulary import branch_sum, token_log_probs
from pluralign.losses.likelihood import sft_loss
from pluralign.losses.siblings import advantage_weights, token_advantages


@dataclass(frozen=True)
class TokenAdvantages:
    """Advantages of the tokens of all rows.

    Args:
        values: Advantage of each token of each row's completion, in the unit of the rewards.
        branching: Whether each of them has siblings.
    """

    values: list[Float[Tensor, " _"]]
    branching: list[Bool[Tensor, " _"]]

    @property
    def deviation(self) -> float:
        """Standard deviation over tokens that have siblings; 0 if there are none."""
        own = torch.cat(self.values)[torch.cat(self.branching)]
        return float(own.std(correction=0)) if len(own) else 0.0


class WeightedTokensLoss(BatchLoss):
    """Likelihood of completions whose tokens have weights.

    Args:
        weights: Weight of each token of each row's completion, not negative.
    """

    def __init__(self, weights: Sequence[Float[Tensor, " _"]]) -> None:
        super().__init__()
        self._weights = weights
        # One constant for all forests of a step, so that their losses add up.
        self._mean = float(torch.cat(list(weights)).double().sum()) / len(weights)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`; nats per unit of weight."""
        log_probs = token_log_probs(model, hidden, batch.forest)
        weights = torch.cat([self._weights[row] for row in batch.rows_of_branches()]).to(log_probs.device)
        return sft_loss(log_probs, tokens=self._mean * len(batch.rows) / batch.share, weights=weights)


@checked
@trains
@folder_optional
def fit_awr(rows: Sequence[ScoredCompletion], run: Run, config: AWRConfig | None = None) -> Backbone:
    """Train a policy on scored samples by advantage-weighted cloning of their tokens.

    The weight of a token is min(exp(A / beta), 100) (Peng et al. 2019), with A the advantage over the tokens
    that other samples of the prompt have after the same beginning (`losses.siblings.token_advantages`). A
    token without siblings has weight 1: nothing was tried beside it, so it is imitated as it is. Samples
    that are drawn independently share a few tokens at most, so few tokens are compared; the card counts them
    (``branching_tokens``). Samples whose prompts were cut to different lengths are not compared.

    If an interrupted run with an output folder is called again, it continues and ends with the same weights.

    Args:
        rows: Samples of one objective, several for each prompt, as `load_scored` reads them; ``train`` is
            used for training, ``validation`` for measurement.
        run: Model, folder, training options, seed.
        config: See `AWRConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: There is no training row, no prompt has two different completions with different rewards,
            rewards are of several objectives, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [
        ...     {"prompt": f"Say {i}:", "completion": text, "reward": reward}
        ...     for i in range(8)
        ...     for text, reward in ((" yes", 1.0), (" no", 0.0))
        ... ]
        >>> scored = pl.load_scored(rows, objective="agreement")
        >>> policy = pl.learn.fit_awr(scored, pl.learn.Run("tiny-random"))
        >>> policy.name
        'agreement'
    """
    config = config or AWRConfig()
    require_scored(rows)
    train, validation = ([row for row in rows if row.split == part] for part in ("train", "validation"))
    _check_differences(train)
    texts, run = as_demonstrations(rows, run)
    rewards = torch.tensor([row.reward for row in train], dtype=torch.float64)
    settings = {**dataclasses.asdict(config), "rewards": digest([rewards.numpy().tobytes()])}
    session = Session("awr", run, settings, texts, demonstrations=True, vocabulary=True)
    found = advantages_of(session.data, rewards)
    unit = config.beta * found.deviation
    if not unit > 0:
        raise InputError(
            f"within {session.max_length} tokens no completion differs from another of its prompt in tokens "
            "and reward",
            field="max_length",
        )
    module = WeightedTokensLoss(_weights(found, unit))
    figures: dict[str, Any] = {"curve": session.train(module), **_counts(found)}
    if session.validation is not None:
        held_out = torch.tensor([row.reward for row in validation], dtype=torch.float64)
        weights = _weights(advantages_of(session.validation, held_out), unit)
        figures["validation_weighted_nll"] = round(_weighted_nll(session, session.validation, weights), 4)
    return session.finish_policy(figures)


def advantages_of(data: CompletionData, rewards: Float[Tensor, " rows"]) -> TokenAdvantages:
    """Advantages of all rows' tokens, over those of other rows with the same prompt.

    Args:
        data: Rows of one completion each.
        rewards: Reward of each row.
    """
    places: list[list[tuple[int, int]]] = to_list(data.places)
    trees = [(data.trees[tree], branch) for ((tree, branch),) in places]
    prompts: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, (tree, _) in enumerate(trees):
        prompts[tuple(tree.prompt_ids)].append(row)
    values: dict[int, Tensor] = {}
    branching: dict[int, Tensor] = {}
    for rows in prompts.values():
        paths = [trees[row][0].branches[trees[row][1]] for row in rows]
        lengths = [len(path) for path in paths]
        advantages, compared = token_advantages(paths, rewards[rows])
        values |= zip(rows, torch.split(advantages, lengths), strict=True)
        branching |= zip(rows, torch.split(compared, lengths), strict=True)
    numbers = range(len(trees))
    return TokenAdvantages([values[row] for row in numbers], [branching[row] for row in numbers])


def _check_differences(rows: Sequence[ScoredCompletion]) -> None:
    own: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        own.setdefault(row.prompt, {}).setdefault(row.completion, []).append(row.reward)
    means = [[sum(many) / len(many) for many in texts.values()] for texts in own.values()]
    # Means of equal rewards may differ by rounding.
    if all(math.isclose(min(some), max(some), rel_tol=1e-9) for some in means):
        raise InputError(
            "no prompt has two different completions with different rewards, so that nothing did better than "
            "its siblings; learn sft imitates all alike"
        )


def _weights(found: TokenAdvantages, unit: float) -> list[Float[Tensor, " _"]]:
    return [advantage_weights(values, unit).float() for values in found.values]


def _counts(found: TokenAdvantages) -> dict[str, float]:
    branching = torch.cat(found.branching)
    share = float(branching.double().mean())
    return {
        "branching_tokens": int(branching.sum()), "branching_share": round(share, 4),
        "advantage_deviation": found.deviation,
    }  # fmt: skip


def _weighted_nll(session: Session, data: CompletionData, weights: Sequence[Float[Tensor, " _"]]) -> float:
    """Weighted negative log-likelihood, nats per unit of weight."""
    training = session.run.training

    def sums(hidden: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=is_mixed(training)):
            log_probs = token_log_probs(session.trunk.model, hidden, batch.forest)
        own = torch.cat([weights[row] for row in batch.rows_of_branches()]).to(log_probs.device)
        return branch_sum(own * log_probs, batch.forest)[batch.branches[:, 0]]

    found = map_rows(session.trunk, data, sums, token_budget=training.token_budget, bf16=is_mixed(training))
    return -float(found.double().sum()) / float(torch.cat(list(weights)).double().sum())
