"""Supervised fine-tuning: maximum likelihood of demonstrations."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import Demonstration, PreferencePair
from pluralign.core.checks import checked
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.log_probs import validation_nll
from pluralign.learn.texts.policy_settings import SFTConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.lm.backbone import Backbone
from pluralign.lm.tensors import trains
from pluralign.lm.vocabulary import token_log_probs
from pluralign.losses.likelihood import contrastive_sft_loss, occupancy_weights, sft_loss, unlikelihood


class SFTLoss(BatchLoss):
    """Likelihood of all completions, or of the chosen ones against the rejected ones.

    Args:
        data: Rows, for the mean number of tokens (see `AVALoss`).
        occupancy: See `SFTConfig`.
    """

    def __init__(self, data: CompletionData, *, occupancy: bool = False) -> None:
        super().__init__()
        self._occupancy = occupancy
        self._tokens = data.completion_tokens / len(data)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        log_probs = token_log_probs(model, hidden, batch.forest)
        tokens = self._tokens * len(batch.rows) / batch.share
        if batch.branches.shape[1] == 1:
            weights = occupancy_weights(batch.forest.lengths) if self._occupancy else None
            return sft_loss(log_probs, tokens=tokens, weights=weights)
        chosen = torch.isin(batch.forest.token_branches, batch.branches[:, 0])
        return contrastive_sft_loss(log_probs, chosen, unlikelihood, tokens=tokens)


@checked
@trains
@folder_optional
def fit_sft(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, config: SFTConfig | None = None
) -> Backbone:
    """Train a policy on demonstrations by maximum likelihood (`losses.likelihood.sft_loss`).

    Args:
        rows: Demonstrations; or pairs, whose chosen completions are the demonstrations ("SFT-Preferred").
        config: See `SFTConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: No training row, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "completion": " yes"} for i in range(8)]
        >>> demonstrations = pl.load_demonstrations(rows)
        >>> policy = pl.learn.fit_sft(demonstrations, pl.learn.Run("tiny-random"))
        >>> policy.name
        'sft'
    """
    config = config or SFTConfig()
    session = Session(
        "sft", run, dataclasses.asdict(config), rows, demonstrations=not config.contrastive, vocabulary=True
    )
    figures: dict[str, Any] = {"curve": session.train(SFTLoss(session.data, occupancy=config.occupancy))}
    return session.finish_policy({**figures, **validation_nll(session)})
