"""Policies learned directly from texts: supervised fine-tuning and direct preference optimisation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from pluralign.learn.texts.data import Batch, CompletionData, batches
from pluralign.learn.texts.session import Run, Session
from pluralign.learn.texts.training import Objective, on_device
from pluralign.learn.texts.trunk import TunedTrunk
from pluralign.lm.backbone import Backbone
from pluralign.lm.vocabulary import branch_log_probs, token_log_probs
from pluralign.losses.contrastive import dpo_loss
from pluralign.losses.likelihood import contrastive_sft_loss, occupancy_weights, sft_loss, unlikelihood


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


class DPOObjective(Objective):
    """The DPO loss against log-probabilities of the model before training.

    Args:
        config: see `DPOConfig`.
        reference: log pi_ref of every row's completions, nats, shape (rows, 2).
    """

    def __init__(self, config: DPOConfig, reference: Float[Tensor, "rows 2"]) -> None:
        super().__init__()
        self._config = config
        self.reference: Tensor
        self.register_buffer("reference", reference, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `Objective`."""
        found = branch_log_probs(model, hidden, batch.forest)[batch.branches]
        reference = self.reference[batch.rows.to(self.reference.device)]
        loss = dpo_loss(
            found[:, 0], found[:, 1], reference[:, 0], reference[:, 1],
            beta=self._config.beta, weights=batch.weights,
        )  # fmt: skip
        return loss * batch.share


class SFTObjective(Objective):
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
        """See `Objective`."""
        log_probs = token_log_probs(model, hidden, batch.forest)
        tokens = self._tokens * len(batch.rows) / batch.share
        if batch.branches.shape[1] == 1:
            weights = occupancy_weights(batch.forest.lengths) if self._occupancy else None
            return sft_loss(log_probs, tokens=tokens, weights=weights)
        chosen = torch.isin(batch.forest.token_branches, batch.branches[:, 0])
        return contrastive_sft_loss(log_probs, chosen, unlikelihood, tokens=tokens)


def fit_dpo(pairs: Sequence[PreferencePair], run: Run, config: DPOConfig | None = None) -> Backbone:
    """Learn a policy from preference pairs with no reward model (`losses.contrastive.dpo_loss`).

    The reference's log-probabilities are computed once, before training.

    Args:
        pairs: one-step pairs of one objective.
        run: model (the reference), folder, training, seed.
        config: see `DPOConfig`.

    Returns:
        The policy's language model.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    config = config or DPOConfig()
    session = Session("dpo", run, dataclasses.asdict(config), pairs, vocabulary=True)
    return learn_from_reference(session, lambda reference: DPOObjective(config, reference))


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
    lengths = [len(data.trees[tree].branches[branch]) for tree, branch in data.places[:, 0].tolist()]
    return {"validation_nll": round(float(-found[:, 0].sum() / sum(lengths)), 4)}


def learn_from_reference(
    session: Session,
    make_objective: Callable[[Float[Tensor, "rows 2"]], Objective],
    figures: Mapping[str, Any] | None = None,
) -> Backbone:
    """Train on pairs against the trunk as it was before, measure, and write the policy's folder.

    Args:
        session: begun, and not trained yet.
        make_objective: from log pi_ref of the training rows' completions, nats.
        figures: more of them, for the card.

    Returns:
        The policy's language model.
    """
    training = session.run.training
    kept = session.run.out / "checkpoints"
    reference = reference_log_probs(session, session.data, kept / "reference_train.safetensors")
    validation = None
    if session.validation is not None:
        path = kept / "reference_validation.safetensors"
        validation = reference_log_probs(session, session.validation, path)
    objective = make_objective(reference).to(session.backbone.device)
    found: dict[str, Any] = {"curve": session.train(objective), **(figures or {})}
    if session.validation is not None and validation is not None:
        log_probs = row_log_probs(session.trunk, session.validation, training.token_budget, training.mixed)
        implicit = log_probs - validation
        right = (implicit[:, 0] > implicit[:, 1]).float().mean()
        found["validation_accuracy"] = round(float(right), 4)
    return session.finish_policy(found)


@torch.no_grad()
def row_log_probs(
    trunk: TunedTrunk, data: CompletionData, token_budget: int, bf16: bool
) -> Float[Tensor, "rows completions"]:
    """Log-probability of every completion of the data after its prompt, nats."""
    device = next(trunk.model.parameters()).device
    found = torch.empty(data.places.shape[:2])
    for batch in batches(data, range(len(data)), token_budget):
        batch = on_device(batch, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            values = branch_log_probs(trunk.model, trunk(batch), batch.forest)
        found[batch.rows] = values[batch.branches].cpu()
    return found


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
