"""Heads of several objectives on one model, trained on preference pairs: multi-action-head DPO."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pluralign.core import Decision, Examples, InputError, PreferencePair, Segment
from pluralign.core.checks import checked
from pluralign.core.digests import digest
from pluralign.core.messages import DIALOGUE
from pluralign.core.splits import seed_for
from pluralign.data.reading import learned_template
from pluralign.folders.heads import HEADS, KIND, HeadedModel, head_tensors, load_heads
from pluralign.learn.engine import processes
from pluralign.learn.phase import GradientsName
from pluralign.learn.shared_gradients import HeldOut, ObjectiveRows, SharedGradients
from pluralign.learn.texts.data import Batch, CompletionData
from pluralign.learn.texts.heads_loss import HeadsLoss
from pluralign.learn.texts.log_probs import reference_log_probs
from pluralign.learn.texts.policies import PolicyLoss
from pluralign.learn.texts.policy_settings import MAHDPOConfig
from pluralign.learn.texts.precision import is_mixed
from pluralign.learn.texts.run import Run, folder_optional
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import ForestLoss, map_rows
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_tokenizer
from pluralign.lm.head_change import HeadChange, make_change
from pluralign.lm.prompts import TEMPLATES
from pluralign.lm.tensors import seeded, trains
from pluralign.losses.contrastive import dpo, labelled_accuracy


@checked
@trains
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

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> turned = [{**row, "chosen": " no", "rejected": " yes"} for row in rows]
        >>> pairs = {"yes": pl.load_pairs(rows, "yes"), "no": pl.load_pairs(turned, "no")}
        >>> model = pl.learn.fit_mah_dpo(pairs, pl.learn.Run("tiny-random"))
        >>> sorted(model.heads)
        ['no', 'yes']
    """
    config = config or MAHDPOConfig()
    run = dataclasses.replace(run, training=_training(run.training, config), template=_template(pairs, run))
    pairs, run = _quoted(pairs, run)
    rows = [dataclasses.replace(pair, objective=name) for name, own in pairs.items() for pair in own]
    counts = {name: len(own) for name, own in pairs.items()}
    settings = {**dataclasses.asdict(config), "objectives": counts}
    if config.gradients == "sum":
        del settings["gradients"]  # Runs of 0.1.0 do not have it.
    if config.gradients == "guided":
        followed = [(one.objective, one.texts(), one.weight) for one in rows if one.split == "validation"]
        settings["held_out"] = digest([repr(followed).encode()])
    session = Session(
        "mah-dpo", run, settings, rows, vocabulary=True, label_weights=True, head=True, several=True
    )
    names = list(pairs)
    heads = {name: _new_head(session, name, config.rank) for name in names}
    loss: PolicyLoss = partial(dpo, beta=config.beta)
    # Both before the trunk changes.
    module = _heads_loss(session, heads, rows, "train", loss)
    validation = None if session.validation is None else _heads_loss(session, heads, rows, "validation", loss)
    figures: dict[str, Any] = {}
    if config.trunk == "frozen":
        figures |= _train_alone(session, heads, module, loss)
    elif config.gradients == "sum":
        figures["curve"] = session.train(module)
    else:
        figures |= _train_weighed(session, heads, module, validation, config.gradients)
    if validation is not None:
        figures |= _accuracies(session, list(heads), validation)
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


def _quoted(
    pairs: Mapping[str, Sequence[PreferencePair]], run: Run
) -> tuple[Mapping[str, Sequence[PreferencePair]], Run]:
    """Pairs that are all read in one way: where a template quoted one objective's, the others' are, too."""
    known = {name: run.has_quoted(own) for name, own in pairs.items()}
    if not any(known.values()):
        return pairs, run
    quote = TEMPLATES[run.template or DIALOGUE.name](load_tokenizer(run.model)).quote
    read = {
        name: own if known[name] else [_with_decisions(pair, quote) for pair in own]
        for name, own in pairs.items()
    }
    return read, dataclasses.replace(run, quoted=True)


def _with_decisions(pair: PreferencePair, change: Callable[[Decision], Decision]) -> PreferencePair:
    """The pair with each decision changed."""

    def changed(segment: Segment) -> Segment:
        steps = tuple(dataclasses.replace(step, decision=change(step.decision)) for step in segment.steps)
        return dataclasses.replace(segment, steps=steps)

    return dataclasses.replace(pair, chosen=changed(pair.chosen), rejected=changed(pair.rejected))


def _heads_loss(
    session: Session, heads: Mapping[str, HeadChange], rows: Sequence[PreferencePair], split: str,
    loss: PolicyLoss,
) -> HeadsLoss:  # fmt: skip
    """Loss of a split's rows: the mean over objectives of the means over their rows.

    Raises:
        InputError: An objective has no pair in the split ``train``.
    """
    data = session.data if split == "train" else session.validation
    assert data is not None, "a split without rows is not asked for"
    names, given = list(heads), [row for row in rows if row.split == split]
    owners = torch.tensor([names.index(given[i].objective) for i in data.kept])
    counts = owners.bincount(minlength=len(names))
    if split == "train" and not bool((counts > 0).all()):
        name = names[int(counts.argmin())]
        raise InputError("there is no training pair to learn from", field=name)
    path = session.out / "checkpoints" / f"reference_{split}.safetensors"
    reference = reference_log_probs(session, data, path)
    # A row's weight makes the mean over all rows the mean over objectives of the means over their rows.
    weights = len(owners) / (len(names) * counts.float())[owners]
    return HeadsLoss(list(heads.values()), owners, loss, reference, weights).to(session.backbone.device)


def _train_alone(
    session: Session, heads: Mapping[str, HeadChange], together: HeadsLoss, loss: PolicyLoss
) -> dict[str, Any]:
    """Train each head on its own rows; the curves."""
    owners, reference = together.owners.cpu(), together.reference.cpu()
    curves: dict[str, Any] = {}
    for number, (name, change) in enumerate(heads.items()):
        own = (owners == number).nonzero()[:, 0]
        zeros, ones = torch.zeros_like(own), torch.ones(len(own))
        module = HeadsLoss([change], zeros, loss, reference[own], ones).to(session.backbone.device)
        data = session.data.select([int(i) for i in own])
        curves[f"curve_{name}"] = session.train(module, data, f"training_{number}")
    return curves


def _train_weighed(
    session: Session, heads: Mapping[str, HeadChange], module: HeadsLoss, validation: HeadsLoss | None,
    gradients: GradientsName,
) -> dict[str, Any]:  # fmt: skip
    """Train trunk and heads, with weighed gradients on the trunk; the curve and what the weights were.

    Raises:
        InputError: Guided weights lack an objective's validation pairs.
    """

    def forests(loss: HeadsLoss, data: CompletionData | None) -> ObjectiveRows:
        assert data is not None, "it was encoded"
        own = ForestLoss(session.trunk, loss.unweighted(), data, training.token_budget)
        return ObjectiveRows(own, loss.owners.cpu())

    training, held_out = session.run.training, None
    if gradients == "guided":
        missing = [0] if validation is None else validation.without_rows()
        if validation is None or missing:
            raise InputError(
                "guided weights follow the gradient of validation pairs, and there is none",
                field=list(heads)[missing[0]],
            )
        held_out = HeldOut(forests(validation, session.validation), training.batch_size, session.run.seed)
    shared = [one for one in session.trunk.parameters() if one.requires_grad]
    loss = SharedGradients(forests(module, session.data), list(heads), shared, gradients, held_out)
    curve = session.train(loss)
    return {"curve": curve, **loss.figures()}


def _accuracies(session: Session, names: Sequence[str], module: HeadsLoss) -> dict[str, float]:
    """Share of each objective's labelled validation pairs of which its head prefers the chosen completion."""
    data, training = session.validation, session.run.training
    assert data is not None, "it was encoded"

    def log_probs(hidden: Tensor, batch: Batch) -> Tensor:
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=is_mixed(training)):
            return module.log_probs(session.trunk.model, hidden, batch)

    mixed = is_mixed(training)
    found = map_rows(session.trunk, data, log_probs, token_budget=training.token_budget, bf16=mixed)
    gains = found - module.reference.cpu()
    owners, margins = module.owners.cpu(), gains[:, 0] - gains[:, 1]
    right = {
        name: labelled_accuracy(margins[own], data.weights[own])
        for number, name in enumerate(names)
        if bool((own := owners == number).any())
    }
    return {f"validation_accuracy_{name}": round(one, 4) for name, one in right.items() if one is not None}
