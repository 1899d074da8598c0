"""Policies learned directly from texts: from preference pairs by any loss, and by supervised fine-tuning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from pluralign.core import Demonstration, InputError, PreferencePair
from pluralign.core.checks import require
from pluralign.core.files import replace_when_whole
from pluralign.learn.engine import processes
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.own_losses import describe_loss, folder_or_temporary, over_labels
from pluralign.learn.texts.session import Run, Session
from pluralign.learn.texts.training import BatchLoss, Training, map_rows
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.backbone import SMOLLM2, Backbone
from pluralign.lm.vocabulary import branch_log_probs, token_log_probs
from pluralign.losses.contrastive import dpo
from pluralign.losses.likelihood import contrastive_sft_loss, occupancy_weights, sft_loss, unlikelihood

PolicyLoss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``(chosen, rejected, reference_chosen, reference_rejected)``, log-probabilities in nats, to each pair's
loss; all of shape (pairs,)."""

POLICY_ARGUMENTS = ("chosen", "rejected", "reference_chosen", "reference_rejected")
"""What a policy's loss is called with, in this order."""


@dataclass(frozen=True)
class DPOConfig:
    """How `fit_dpo` learns.

    Args:
        beta: temperature of the implicit reward (Rafailov et al. 2023: 0.1).
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9})


@dataclass(frozen=True)
class SFTConfig:
    """How `fit_sft` learns.

    Args:
        contrastive: make the rejected completions unlikely, too (AVA-p "w/o irl" and "w/o cer").
        occupancy: weigh token k of T by (T - k) / T: the forward KL divergence between state-action
            occupancies instead of whole completions (Inverse-RLignment eq. 29).
    """

    contrastive: bool = False
    occupancy: bool = False

    def __post_init__(self) -> None:
        if self.contrastive and self.occupancy:
            raise InputError("weighs demonstrations; it does not go with contrastive", field="occupancy")


class PreferenceObjective(BatchLoss):
    """A loss of log-probabilities, with those of the model before training.

    Args:
        loss: Loss of each pair.
        reference: log pi_ref of every row's completions, nats, shape (rows, 2).
        per_token: Means over each completion's tokens instead of sums; ``reference`` has them already.
    """

    def __init__(
        self, loss: PolicyLoss, reference: Float[Tensor, "rows 2"], *, per_token: bool = False
    ) -> None:
        super().__init__()
        self._loss, self._per_token = loss, per_token
        self.reference: Tensor
        self.register_buffer("reference", reference, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        found = completion_log_probs(model, hidden, batch, per_token=self._per_token)
        reference = self.reference[batch.rows.to(self.reference.device)]
        columns = (found[:, 0], found[:, 1], reference[:, 0], reference[:, 1])
        flipped = (columns[1], columns[0], columns[3], columns[2])
        return over_labels(lambda: self._loss(*columns), lambda: self._loss(*flipped), batch)


class SFTObjective(BatchLoss):
    """Likelihood of the completions: of all of them, or against the rejected ones.

    Args:
        data: the rows, for the mean number of tokens (see `AVAObjective`).
        occupancy: see `SFTConfig`.
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


def fit_policy(
    pairs: Sequence[PreferencePair],
    *,
    model: str = SMOLLM2,
    out: str | Path | None = None,
    loss: PolicyLoss = dpo,
    per_token: bool = False,
    reference: bool = True,
    training: Training | None = None,
    seed: int = 0,
    name: str = "",
    template: str = "dialogue",
) -> Backbone:
    """Learn a policy from preference pairs by any loss of log-probabilities.

    The model before training is the reference; its log-probabilities are computed once. The split ``train``
    is learned from, ``validation`` is measured on, ``test`` is not touched. An interrupted run with a folder
    continues when it is called again, and ends with the same weights.

    Args:
        pairs: One-step pairs of one objective (`load_pairs`).
        model: Policy before training: ``smollm2-135m``, a hub id or a local folder.
        out: Folder to write; None keeps the policy in memory only.
        loss: Loss of each pair, ``(chosen, rejected, reference_chosen, reference_rejected) -> loss``:
            log-probabilities in nats, all of shape (pairs,). `losses.dpo`, `losses.ipo`, `losses.simpo`, a
            `functools.partial` of one, or a function of your own. For pairs with a label that may be wrong
            (a weight below 1) the library also calls it with chosen and rejected exchanged.
        per_token: Give the loss mean log-probabilities per token instead of sums (SimPO's).
        reference: Whether the loss reads the reference; False saves its pass, and the loss gets zeros.
        training: Optimiser, batch, adapter; see `Training`.
        seed: Random seed of new weights and of the data's order.
        name: Name of the policy in reports; the objective's by default.
        template: Template that made texts of the data's messages, "dialogue" or "chat".

    Returns:
        The policy's language model.

    Raises:
        InputError: No training pair, a loss with another signature or result, or a folder of another run.

    Example:
        >>> import pluralign as pl
        >>> rows = [{"prompt": "Say", "chosen": f" yes {i}", "rejected": f" no {i}"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, objective="agreement")
        >>> policy = pl.fit_policy(pairs, model="tiny-random", loss=pl.losses.ipo)
        >>> policy.name
        'agreement'
    """
    method, settings = describe_loss(loss, POLICY_ARGUMENTS)
    with folder_or_temporary(out) as folder:
        run = Run(model, folder, training or Training(), seed, name, template)
        return learn_policy(method, pairs, run, loss, settings, per_token=per_token, reference=reference)


def fit_dpo(pairs: Sequence[PreferencePair], run: Run, config: DPOConfig | None = None) -> Backbone:
    """Learn a policy by direct preference optimisation (`losses.dpo`); see `fit_policy`.

    Args:
        pairs: One-step pairs of one objective.
        run: Model (the reference), folder, training, seed.
        config: Temperature; see `DPOConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: No training pair, or the folder holds another run.
    """
    config = config or DPOConfig()
    return learn_policy("dpo", pairs, run, partial(dpo, beta=config.beta), dataclasses.asdict(config))


def learn_policy(
    method: str, pairs: Sequence[PreferencePair], run: Run, loss: PolicyLoss, settings: Mapping[str, Any], *,
    per_token: bool = False, reference: bool = True,
) -> Backbone:  # fmt: skip
    """Learn a policy by one row of the table of methods; see `fit_policy`.

    Args:
        method: Name of the method in the card.
        pairs: One-step pairs of one objective.
        run: Model, folder, training, seed.
        loss: Loss of each pair.
        settings: Settings of the loss, for the card.
        per_token: See `fit_policy`.
        reference: See `fit_policy`.
    """
    # Cards of losses that take sums and a reference, as most do, say nothing about it.
    more = ({"per_token": True} if per_token else {}) | ({} if reference else {"reference": False})
    session = Session(method, run, {**settings, **more}, pairs, vocabulary=True)
    return learn_from_reference(
        session,
        lambda known: PreferenceObjective(loss, known, per_token=per_token),
        per_token=per_token,
        reference=reference,
    )


def fit_sft(
    rows: Sequence[PreferencePair] | Sequence[Demonstration], run: Run, config: SFTConfig | None = None
) -> Backbone:
    """Learn a policy that writes like demonstrations (`losses.likelihood.sft_loss`).

    Args:
        rows: demonstrations; or pairs, whose chosen halves are taken ("SFT-Preferred").
        run: model, folder, training, seed.
        config: see `SFTConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    config = config or SFTConfig()
    session = Session(
        "sft", run, dataclasses.asdict(config), rows, demonstrations=not config.contrastive, vocabulary=True
    )
    figures: dict[str, Any] = {"curve": session.train(SFTObjective(session.data, occupancy=config.occupancy))}
    return session.finish_policy({**figures, **validation_nll(session)})


def validation_nll(session: Session) -> dict[str, float]:
    """Nats for each token of the validation split's demonstrations, end-of-text tokens among them."""
    data, training = session.validation, session.run.training
    if data is None:
        return {}
    found = row_log_probs(session.trunk, data, training.token_budget, training.mixed)
    return {"validation_nll": round(float(-found[:, 0].sum() / int(data.lengths[:, 0].sum())), 4)}


def learn_from_reference(
    session: Session,
    make_objective: Callable[[Float[Tensor, "rows 2"]], BatchLoss],
    figures: Mapping[str, Any] | None = None,
    *,
    per_token: bool = False,
    reference: bool = True,
) -> Backbone:
    """Train on pairs with the model before training as the reference, measure, and write the folder.

    Args:
        session: A session that has not been trained.
        make_objective: Makes the loss from log pi_ref of the training rows' completions, nats.
        figures: Further figures for the card.
        per_token: Mean log-probabilities per token instead of sums.
        reference: Whether the loss reads the reference; else it is zero.

    Returns:
        The policy's language model.
    """
    training = session.run.training

    def known(data: CompletionData, part: str) -> Float[Tensor, "rows 2"]:
        if not reference:
            return torch.zeros(data.places.shape[:2])
        values = reference_log_probs(
            session, data, session.run.out / "checkpoints" / f"reference_{part}.safetensors"
        )
        return values / data.lengths if per_token else values

    objective = make_objective(known(session.data, "train")).to(session.backbone.device)
    validation = None if session.validation is None else known(session.validation, "validation")
    found: dict[str, Any] = {"curve": session.train(objective), **(figures or {})}
    if session.validation is not None and validation is not None:
        log_probs = row_log_probs(session.trunk, session.validation, training.token_budget, training.mixed)
        implicit = (log_probs / session.validation.lengths if per_token else log_probs) - validation
        right = (implicit[:, 0] > implicit[:, 1]).float().mean()
        found["validation_accuracy"] = round(float(right), 4)
    return session.finish_policy(found)


def completion_log_probs(
    model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch, *, per_token: bool
) -> Float[Tensor, "rows completions"]:
    """Log-probabilities of a batch's completions, nats: sums over their tokens, or means per token."""
    found = branch_log_probs(model, hidden, batch.forest)
    if per_token:
        found = found / batch.forest.lengths
    return found[batch.branches]


def row_log_probs(
    trunk: TunedTrunk, data: CompletionData, token_budget: int, bf16: bool
) -> Float[Tensor, "rows completions"]:
    """Log-probability of every completion of the data after its prompt, nats."""

    def log_probs(hidden: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=bf16):
            return branch_log_probs(trunk.model, hidden, batch.forest)[batch.branches]

    return map_rows(trunk, data, log_probs, token_budget=token_budget, bf16=bf16)


def reference_log_probs(
    session: Session, data: CompletionData, path: Path
) -> Float[Tensor, "rows completions"]:
    """Log-probabilities by the trunk as it is now; kept in a file, for a run that goes on."""
    training = session.run.training
    with processes().main_process_first():
        if not path.exists():
            values = row_log_probs(session.trunk, data, training.token_budget, training.mixed)
            with replace_when_whole(path) as temporary:
                save_file({"log_probs": values}, temporary)
    return load_file(path)["log_probs"]
