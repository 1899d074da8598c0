"""Listwise preference optimisation: a policy from ranked lists of each prompt's completions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.data.examples import RankedCompletions
from pluralign.learn.texts.data import Batch, CompletionData, split_rows
from pluralign.learn.texts.log_probs import completion_log_probs
from pluralign.learn.texts.own_losses import describe_loss
from pluralign.learn.texts.policies import train_policy
from pluralign.learn.texts.policy_settings import LiPOConfig
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.lm.backbone import Backbone
from pluralign.lm.tensors import trains
from pluralign.losses.listwise import ListwiseLoss, lambda_loss


class ListPreferenceLoss(BatchLoss):
    """Loss of lists as a function of scores s = beta (log pi - log pi_ref) and levels.

    Args:
        loss: Loss of each list.
        beta: See `LiPOConfig`.
        reference: Log-probabilities log pi_ref of every row's completions, nats, shape (rows, completions).
        levels: Levels of every row's completions, shape (rows, completions).
    """

    def __init__(
        self, loss: ListwiseLoss, beta: float, reference: Float[Tensor, "rows completions"],
        levels: Float[Tensor, "rows completions"],
    ) -> None:  # fmt: skip
        super().__init__()
        self._loss, self._beta = loss, beta
        self.reference: Tensor
        self.levels: Tensor
        self.register_buffer("reference", reference, persistent=False)
        self.register_buffer("levels", levels, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        rows = batch.rows.to(self.reference.device)
        found = completion_log_probs(model, hidden, batch, per_token=False)
        # As in `dpo`, so that lists of two give the same numbers.
        scores = self._beta * (found - self.reference[rows])
        return self._loss(scores, self.levels[rows]).mean() * batch.share


@checked
@trains
@folder_optional
def fit_lipo(
    rows: Sequence[RankedCompletions],
    run: Run,
    config: LiPOConfig | None = None,
    *,
    loss: ListwiseLoss = lambda_loss,
) -> Backbone:
    """Train a policy on ranked lists of completions (Liu et al. 2024).

    The completions of a list share one pass over their prompt. The model before training is the reference;
    its log-probabilities are computed once. With `losses.listwise.all_pairs_loss` and lists of two, this is
    `fit_dpo`. If an interrupted run with an output folder is called again, it continues and ends with the
    same weights.

    Args:
        rows: Lists of one length and one objective (`rank_completions`); ``train`` is used for training,
            ``validation`` for measurement.
        run: Model (the reference), folder, training options, seed.
        config: See `LiPOConfig`.
        loss: Loss of each list, ``(scores, levels) -> loss``: `losses.listwise.lambda_loss`,
            `list_likelihood_loss`, `all_pairs_loss`, or a function of your own.

    Returns:
        The policy's language model.

    Raises:
        InputError: There is no training list, the lists have several lengths or objectives, the loss has
            another signature or result, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [
        ...     {"prompt": f"Say {i}:", "completion": text, "reward": reward}
        ...     for i in range(8)
        ...     for text, reward in ((" yes", 1.0), (" no", 0.0))
        ... ]
        >>> scored = pl.load_scored(rows, objective="agreement")
        >>> lists = pl.rank_completions(scored, 2)
        >>> policy = pl.learn.fit_lipo(lists, pl.learn.Run("tiny-random"))
        >>> policy.name
        'agreement'
    """
    config = config or LiPOConfig()
    _check_rows(rows)
    train, validation = split_rows(rows, run.provenance.get("file"), RankedCompletions)
    name, own = describe_loss(loss, ("scores", "levels"))
    _check_loss(loss, len(train[0].completions))
    described = digest([repr([row.levels for row in train]).encode()])
    settings = {**dataclasses.asdict(config), "loss": name, "levels": described}
    if own:
        # Apart from those of the method, which may have the same names.
        settings["loss_settings"] = own
    session = Session("lipo", run, settings, rows, vocabulary=True, lists=True)

    def accuracy(implicit: Float[Tensor, "rows completions"]) -> float:
        assert session.validation is not None, "it is measured on these rows"
        return _ordered(implicit, _levels(validation, session.validation))

    levels = _levels(train, session.data)
    return train_policy(
        session, lambda known: ListPreferenceLoss(loss, config.beta, known, levels), accuracy=accuracy
    )


def _check_rows(rows: Sequence[RankedCompletions]) -> None:
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, RankedCompletions):
            raise InputError(
                f"expected a ranked list, as rank_completions makes it, found {row!r:.60}", row=number
            )
    if not any(row.split == "train" for row in rows):
        raise InputError("there is no training list to learn from")
    if len({row.objective for row in rows}) > 1:
        raise InputError("expected lists of one objective, found several")
    sizes = sorted({len(row.completions) for row in rows})
    if len(sizes) > 1:
        raise InputError(f"expected lists of one length, found {sizes[0]} and {sizes[-1]} completions")


@torch.enable_grad()
def _check_loss(loss: ListwiseLoss, size: int) -> None:
    """Call a loss once with made-up numbers, so that errors are found before training starts."""
    lists = size + 1  # another number, so that the two axes cannot be confused
    scores = torch.linspace(-1, 1, lists * size).reshape(lists, size).requires_grad_()
    levels = torch.linspace(1, 0, size).expand(lists, size)
    try:
        found = loss(scores, levels)
    except Exception as error:
        raise InputError(f"fails when called: {type(error).__name__}: {error}", field="loss") from error
    if not isinstance(found, Tensor) or found.shape != (lists,):
        shape = tuple(getattr(found, "shape", ()))
        raise InputError(
            f"expected one loss for each of {lists} lists, found shape {shape}; do not average over lists",
            field="loss",
        )
    if not found.requires_grad:
        raise InputError("does not depend on scores", field="loss")
    if not bool(torch.isfinite(found).all()):
        raise InputError("is not finite when called with scores from -1 to 1", field="loss")


def _levels(rows: Sequence[RankedCompletions], data: CompletionData) -> Float[Tensor, "rows completions"]:
    return torch.tensor([rows[number].levels for number in data.kept], dtype=torch.float32)


def _ordered(implicit: Float[Tensor, "rows completions"], levels: Float[Tensor, "rows completions"]) -> float:
    """Share of the lists' pairs of different levels that the implicit reward orders as the levels."""
    better = levels[:, :, None] > levels[:, None, :]
    right = implicit[:, :, None] > implicit[:, None, :]
    return float(right[better].float().mean())
