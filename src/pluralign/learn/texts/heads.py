"""Heads of several objectives on one model, trained on preference pairs: multi-action-head DPO."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import Examples, InputError, PreferencePair
from pluralign.core.checks import checked, require
from pluralign.core.splits import seed_for
from pluralign.data.reading import learned_template
from pluralign.folders.heads import HEADS, KIND, HeadedModel, head_tensors, load_heads
from pluralign.learn.engine import processes
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.log_probs import reference_log_probs
from pluralign.learn.texts.own_losses import over_labels
from pluralign.learn.texts.policies import PolicyLoss
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import BatchLoss, map_rows
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.head_change import HeadChange, make_change
from pluralign.lm.tensors import seeded
from pluralign.lm.vocabulary import changed_log_probs
from pluralign.losses.contrastive import dpo


@dataclass(frozen=True)
class MAHDPOConfig:
    """Settings of `fit_mah_dpo`.

    Args:
        beta: Temperature of the implicit reward (Rafailov et al. 2023: 0.1).
        rank: Rank of each head's change of the vocabulary head (ours: 16).
        trunk: What is trained below the heads: with frozen nothing, so that each head is trained alone on its
            objective's pairs; with joint an adapter or the uppermost layers (training options), together with
            all heads, as in the paper.
    """

    beta: float = 0.1
    rank: int = 16
    trunk: Literal["frozen", "joint"] = "frozen"

    def __post_init__(self) -> None:
        require(self, {"beta": 1e-9, "rank": 1})
        if self.trunk not in ("frozen", "joint"):
            raise InputError(f"must be frozen or joint, found {self.trunk!r}", field="trunk")


class HeadsLoss(BatchLoss):
    """Weighted losses of pairs of several objectives, each through its own head.

    Args:
        changes: Change of the vocabulary head of each objective.
        owners: Number of each row's objective.
        loss: Loss of each pair; see `PolicyLoss`.
        reference: Log pi_ref of every row's completions, nats.
        weights: Weight of each row's loss.
    """

    def __init__(
        self, changes: Sequence[HeadChange], owners: Int[Tensor, " rows"], loss: PolicyLoss,
        reference: Float[Tensor, "rows 2"], weights: Float[Tensor, " rows"],
    ) -> None:  # fmt: skip
        super().__init__()
        self.changes, self._loss = nn.ModuleList(changes), loss
        self.owners: Tensor
        self.reference: Tensor
        self.weights: Tensor
        self.register_buffer("owners", owners, persistent=False)
        self.register_buffer("reference", reference, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch) -> Tensor:
        """See `BatchLoss`."""
        rows = batch.rows.to(self.owners.device)
        chosen, rejected = self.log_probs(model, hidden, batch).unbind(dim=1)
        known, weights = self.reference[rows].unbind(dim=1), self.weights[rows]
        return over_labels(
            lambda: weights * self._loss(chosen, rejected, *known),
            lambda: weights * self._loss(rejected, chosen, *known[::-1]),
            batch,
        )

    def log_probs(
        self, model: PreTrainedModel, hidden: Float[Tensor, "tokens d"], batch: Batch
    ) -> Float[Tensor, "rows completions"]:
        """Log-probability of each completion through the head of its row's objective, nats."""
        owners = self.owners[batch.rows.to(self.owners.device)]
        of_branches = owners.new_zeros(len(batch.forest.ends))
        of_branches[batch.branches.flatten()] = owners.repeat_interleave(batch.branches.shape[1])
        changes: Any = list(self.changes)
        return changed_log_probs(model, hidden, batch.forest, changes, of_branches)[batch.branches]


@checked
@folder_optional
def fit_mah_dpo(
    pairs: Mapping[str, Sequence[PreferencePair]], run: Run, config: MAHDPOConfig | None = None
) -> HeadedModel:
    """Train a head for each objective on one model, by direct preference optimisation through each head.

    The loss is the mean over objectives of the mean over their pairs of DPO's loss, with the probabilities of
    the objective's head W_k = W_0 + B_k A_k; the model before training is the reference of all heads (Shen et
    al. 2025, MAH-DPO; low-rank changes are ours). The model's own head and its input embeddings stay as they
    are.

    Args:
        pairs: One-step pairs of each objective.
        run: Model (the reference), folder, training options, seed. A name of the run is the model's in
            reports.
        config: See `MAHDPOConfig`.

    Returns:
        The model with its heads.

    Raises:
        InputError: An objective has no training pair, the training options do not match the trunk's form, the
            model has no linear vocabulary head, or the folder holds another run.
    """
    config = config or MAHDPOConfig()
    run = dataclasses.replace(
        run, training=_training(run.training, config), template=_template(pairs, run),
        quoted=any(run.has_quoted(own) for own in pairs.values()),
    )  # fmt: skip
    rows = [dataclasses.replace(pair, objective=name) for name, own in pairs.items() for pair in own]
    counts = {name: len(own) for name, own in pairs.items()}
    settings = {**dataclasses.asdict(config), "objectives": counts}
    session = Session(
        "mah-dpo", run, settings, rows, vocabulary=True, label_weights=True, head=True, several=True
    )
    names = list(pairs)
    heads = {name: _new_head(session, name, config.rank) for name in names}
    reference = _reference(session, session.data, "train")
    owners = _owners(names, rows, session.data, "train")
    loss: PolicyLoss = partial(dpo, beta=config.beta)
    curves = _train(session, heads, owners, loss, reference, joint=config.trunk == "joint")
    parts = ["curve"] if config.trunk == "joint" else [f"curve_{name}" for name in names]
    figures: dict[str, Any] = {
        **dict(zip(parts, curves, strict=True)), **_accuracies(session, heads, rows)
    }  # fmt: skip
    session.write(KIND, {"objectives": names}, figures, {HEADS: head_tensors(heads)})
    return load_heads(session.out, dtype=session.backbone.dtype)


def _new_head(session: Session, name: str, rank: int) -> HeadChange:
    """A head whose start depends on its own name, not on the other objectives."""
    with seeded(seed_for(name, session.run.seed)):
        return make_change(session.backbone.model, rank)


def _training(training: Training, config: MAHDPOConfig) -> Training:
    if config.trunk == "frozen":
        if training.lora_rank or training.layers:
            field = "lora_rank" if training.lora_rank else "layers"
            raise InputError("trains the trunk, which is frozen; give --config.trunk joint", field=field)
        return dataclasses.replace(training, layers=0)
    if not training.lora_rank and not training.layers:
        raise InputError(
            "joint training changes the trunk by an adapter or in its uppermost layers: give lora_rank or "
            "layers (all weights would include the vocabulary head)",
            field="lora_rank",
        )
    if processes().num_processes > 1:
        raise InputError("several processes train frozen trunks only", field="trunk")
    return training


def _template(pairs: Mapping[str, Sequence[PreferencePair]], run: Run) -> str | None:
    """Name of the template that all data share."""
    if not pairs:
        raise InputError("expected pairs of at least one objective, found none", field="data")
    if not any(isinstance(own, Examples) and own.template for own in pairs.values()):
        return run.template
    tokenizer = load_tokenizer(run.model)
    found = {name: learned_template(own, run.template, tokenizer) for name, own in pairs.items()}
    if len(set(found.values())) > 1:
        raise InputError(f"the objectives' data have different templates ({found})", field="template")
    return next(iter(found.values()))


def _owners(
    names: Sequence[str], rows: Sequence[PreferencePair], data: CompletionData, split: str
) -> Int[Tensor, " rows"]:
    """Number of each row's objective.

    Raises:
        InputError: An objective has no pair in the split ``train``.
    """
    given = [row for row in rows if row.split == split]
    owners = torch.tensor([names.index(given[i].objective) for i in data.kept])
    if split == "train":
        for number, name in enumerate(names):
            if not bool((owners == number).any()):
                raise InputError("there is no training pair to learn from", field=name)
    return owners


def _reference(session: Session, data: CompletionData, part: str) -> Float[Tensor, "rows 2"]:
    return reference_log_probs(session, data, session.out / "checkpoints" / f"reference_{part}.safetensors")


def _train(
    session: Session, heads: Mapping[str, HeadChange], owners: Int[Tensor, " rows"], loss: PolicyLoss,
    reference: Float[Tensor, "rows 2"], *, joint: bool,
) -> list[list[dict[str, float]]]:  # fmt: skip
    """Train all heads together, or each alone; the curves."""
    changes, device = list(heads.values()), session.backbone.device
    if joint:
        # A row's weight makes the mean over all rows the mean over objectives of the means over their rows.
        weights = len(owners) / (len(changes) * owners.bincount(minlength=len(changes)).float())[owners]
        return [session.train(HeadsLoss(changes, owners, loss, reference, weights).to(device))]
    curves: list[list[dict[str, float]]] = []
    for number, change in enumerate(changes):
        own = (owners == number).nonzero()[:, 0]
        zeros, ones = torch.zeros_like(own), torch.ones(len(own))
        module = HeadsLoss([change], zeros, loss, reference[own], ones).to(device)
        data = session.data.select([int(i) for i in own])
        curves.append(session.train(module, data, f"training_{number}"))
    return curves


def _accuracies(
    session: Session, heads: Mapping[str, HeadChange], rows: Sequence[PreferencePair]
) -> dict[str, float]:
    """Share of each objective's validation pairs of which its head prefers the chosen completion."""
    if session.validation is None:
        return {}
    data, training, names = session.validation, session.run.training, list(heads)
    owners, reference = _owners(names, rows, data, "validation"), _reference(session, data, "validation")
    module = HeadsLoss(
        list(heads.values()), owners, dpo, torch.zeros(len(data), 2), torch.ones(len(data))
    ).to(session.backbone.device)

    def log_probs(hidden: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=training.mixed):
            return module.log_probs(session.trunk.model, hidden, batch)

    found = map_rows(session.trunk, data, log_probs, token_budget=training.token_budget, bf16=training.mixed)
    gains = found - reference
    right = (gains[:, 0] > gains[:, 1]).float()
    return {
        f"validation_accuracy_{name}": round(float(right[owners == number].mean()), 4)
        for number, name in enumerate(names)
        if bool((owners == number).any())
    }
