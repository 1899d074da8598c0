"""Training of policies on preference pairs with any loss of log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import InputError, PreferencePair
from pluralign.core.checks import checked
from pluralign.learn.methods import METHODS
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.log_probs import completion_log_probs, reference_log_probs, row_log_probs
from pluralign.learn.texts.own_losses import check_loss, describe_loss, over_labels
from pluralign.learn.texts.policy_settings import DPOConfig
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.run import Run, folder_optional, make_run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import Backbone
from pluralign.lm.device import use_device
from pluralign.lm.pretrained import SMOLLM2
from pluralign.lm.tensors import trains
from pluralign.losses.contrastive import dpo, labelled_accuracy

PolicyLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Function from ``(chosen, rejected, reference_chosen, reference_rejected)``, log-probabilities in nats, to
the loss of each pair; all of shape (pairs,)."""

POLICY_ARGUMENTS = ("chosen", "rejected", "reference_chosen", "reference_rejected")
"""Positional arguments of a policy's loss, in order."""


class PreferenceLoss(BatchLoss):
    """Loss of pairs as a function of the model's log-probabilities and of numbers known before training.

    Args:
        loss: Loss of each pair. Its arguments are log-probabilities of chosen and rejected, then the columns
            of ``known``.
        known: Numbers of every row, alternating chosen and rejected; log pi_ref in nats comes first. Shape
            (rows, columns).
        per_token: Whether to use means over each completion's tokens instead of sums; ``known`` must match.
    """

    def __init__(
        self, loss: Callable[..., Tensor], known: Float[Tensor, "rows columns"], *, per_token: bool = False
    ) -> None:
        super().__init__()
        self._loss, self._per_token = loss, per_token
        self.known: Tensor
        self.register_buffer("known", known, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        found = completion_log_probs(model, hidden, batch, per_token=self._per_token)
        known = self.known[batch.rows.to(self.known.device)]
        columns = [*found.unbind(dim=1), *known.unbind(dim=1)]
        # Exchange chosen and rejected in each pair of columns.
        flipped = [columns[i ^ 1] for i in range(len(columns))]
        return over_labels(lambda: self._loss(*columns), lambda: self._loss(*flipped), batch)


@checked
@trains
def fit_policy(
    pairs: Sequence[PreferencePair],
    *,
    model: str | Path | Backbone = SMOLLM2,
    out: str | Path | None = None,
    loss: PolicyLoss = dpo,
    per_token: bool = False,
    reference: bool = True,
    training: Training | None = None,
    seed: int = 0,
    name: str = "",
    template: str | None = None,
    control_tokens: bool = False,
    device: str | None = None,
) -> Backbone:
    """Train a policy on preference pairs with any loss of log-probabilities.

    The model before training is the reference; its log-probabilities are computed once. The split ``train``
    is used for training and ``validation`` for measurement; ``test`` is not used. If an interrupted run with
    an output folder is called again, it continues and ends with the same weights.

    Args:
        pairs: One-step pairs of one objective (`load_pairs`).
        model: Policy before training: ``smollm2-135m``, a hub id, a local folder, or a loaded model whose
            name loads the same weights again.
        out: Output folder; None keeps the policy in memory only.
        loss: Loss of each pair, ``(chosen, rejected, reference_chosen, reference_rejected) -> loss``, of
            log-probabilities in nats; all of shape (pairs,). `losses.dpo`, `losses.ipo`, `losses.simpo`, a
            `functools.partial` of one, or a function of your own. For pairs whose label may be wrong (weight
            below 1), it is also called with chosen and rejected exchanged.
        per_token: Whether to pass mean log-probabilities per token instead of sums (as SimPO needs).
        reference: Whether to compute reference log-probabilities; if False, the loss receives zeros and the
            reference pass is skipped.
        training: Optimizer, batch and adapter options; see `Training`.
        seed: Random seed of new weights and of the data order.
        name: Name of the policy in reports; the objective's by default.
        template: Name of the template that rendered the data's messages to text, "dialogue" or "chat".
        control_tokens: Whether prompts and completions that are texts may contain control tokens by name; by
            default such names are ordinary text.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.

    Returns:
        The policy's language model.

    Raises:
        InputError: There is no training pair, the loss has another signature or result, or the folder holds
            another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> policy = pl.fit_policy(pairs, model="tiny-random", loss=pl.losses.ipo)
        >>> policy.name
        'agreement'
    """
    with use_device(device):
        run = make_run(
            model, out, training, seed=seed, name=name, template=template, control_tokens=control_tokens
        )
        return learn_policy(pairs, run, loss, per_token=per_token, reference=reference)


@checked
@trains
def fit_dpo(pairs: Sequence[PreferencePair], run: Run, config: DPOConfig | None = None) -> Backbone:
    """Train a policy by direct preference optimisation (`losses.dpo`); see `fit_policy`.

    Args:
        pairs: One-step pairs of one objective.
        run: Model (the reference), folder, training options, seed.
        config: See `DPOConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: No training pair, or the folder holds another run.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> policy = pl.learn.fit_dpo(pairs, pl.learn.Run("tiny-random"), pl.learn.DPOConfig(beta=0.2))
        >>> policy.name
        'agreement'
    """
    return learn_policy(pairs, run, partial(dpo, beta=(config or DPOConfig()).beta))


@folder_optional
def learn_policy(
    pairs: Sequence[PreferencePair], run: Run, loss: PolicyLoss, *, per_token: bool = False,
    reference: bool = True,
) -> Backbone:  # fmt: skip
    """`fit_policy` with a `Run`.

    Args:
        pairs: See `fit_policy`.
        run: Model (the reference), folder, training options, seed.
        loss: See `fit_policy`.
        per_token: See `fit_policy`.
        reference: See `fit_policy`.
    """
    method, settings = describe_loss(loss, POLICY_ARGUMENTS)
    if method in METHODS and METHODS[method].per_token and not per_token:
        raise InputError(f"{method} is a loss of means per token", field="per_token")
    check_loss(loss, POLICY_ARGUMENTS)
    # Cards of losses with sums and a reference (the usual case) do not mention it.
    more = ({"per_token": True} if per_token else {}) | ({} if reference else {"reference": False})
    session = Session(method, run, {**settings, **more}, pairs, vocabulary=True, label_weights=True)
    return train_policy(
        session,
        lambda known: PreferenceLoss(loss, known, per_token=per_token),
        per_token=per_token,
        reference=reference,
    )


def train_policy(
    session: Session,
    make_loss: Callable[[Float[Tensor, "rows completions"]], BatchLoss],
    figures: Mapping[str, Any] | None = None,
    *,
    per_token: bool = False,
    reference: bool = True,
    accuracy: Callable[[Float[Tensor, "rows completions"]], float] | None = None,
) -> Backbone:
    """Train on pairs or lists with the model before training as reference, measure, and write the folder.

    Args:
        session: Session that has not been trained.
        make_loss: Function from log pi_ref of the training rows' completions, nats, to the loss.
        figures: Further figures for the card.
        per_token: Whether to use mean log-probabilities per token instead of sums.
        reference: Whether the loss uses the reference; if False, it is zero.
        accuracy: Accuracy of the implicit rewards log pi / pi_ref of the validation rows; by default
            `labelled_accuracy` of the pairs.

    Returns:
        The policy's language model.
    """
    training = session.run.training

    def known(data: CompletionData, part: str) -> Float[Tensor, "rows completions"]:
        if not reference:
            return torch.zeros(data.places.shape[:2])
        values = reference_log_probs(
            session, data, session.out / "checkpoints" / f"reference_{part}.safetensors"
        )
        return values / data.lengths if per_token else values

    module = make_loss(known(session.data, "train")).to(session.backbone.device)
    validation = None if session.validation is None else known(session.validation, "validation")
    found: dict[str, Any] = {"curve": session.train(module), **(figures or {})}
    if session.validation is not None and validation is not None:
        log_probs = row_log_probs(
            session.trunk, session.validation, training.token_budget, is_mixed(training)
        )
        implicit = (log_probs / session.validation.lengths if per_token else log_probs) - validation
        right = (
            labelled_accuracy(implicit[:, 0] - implicit[:, 1], session.validation.weights)
            if accuracy is None
            else accuracy(implicit)
        )
        found |= {} if right is None else {"validation_accuracy": round(right, 4)}
    return session.finish_policy(found)
