"""Export of trained folders for other tools: sequence classifiers and merged language models."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import Decision, InputError
from pluralign.core.checks import checked
from pluralign.core.files import folder_when_whole, read_json, require_free, write_json
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import load_language_policy
from pluralign.lm.backbone import Backbone, merged_backbone
from pluralign.lm.passes import trunk_of
from pluralign.lm.pretrained import no_loading_bars
from pluralign.lm.quantized import dequantize, is_quantized
from pluralign.lm.tensors import seeded
from pluralign.rewards.reward_model import (
    RewardModel,
    RewardSettings,
    load_reward_model,
    read_settings,
)

_log = logging.getLogger(__name__)
TOLERANCE = 1e-4
CARD_COPY = "pluralign_card.json"
"""File with the card of the exported model, in its folder."""
PROBES = "pluralign_probes.json"
"""File with token ids and their rewards, in the folder of an exported reward model, by which a server that
returns something else is recognised."""
_PROBES = (
    Decision(
        "\n\nHuman: What is the capital of France?\n\nAssistant:", (" Paris.", " I would rather not say.")
    ),
    Decision("A short prompt", (" and a completion that is a good deal longer than its prompt was.", " x")),
)


@checked
def export_folder(folder: str | Path, out: str | Path, *, model: str | None = None) -> str:
    """Export a trained folder as a model of transformers, and return what it was exported as.

    A reward model becomes an `AutoModelForSequenceClassification` with one label (the format of reward models
    in vLLM and TRL); its logit for ``prompt + completion + end-of-text token`` is the reward. A policy
    becomes an `AutoModelForCausalLM` with its adapter merged. A reward is to be served in float32, in which
    the folder is written (`vllm serve DIR --runner pooling --dtype float32`).

    Args:
        folder: Folder of a reward model or policy trained on texts.
        out: Output folder, which must not exist or must be empty.
        model: Hub id or folder of the base model, if it was moved.

    Raises:
        InputError: The folder holds neither, its reward cannot be expressed by a sequence classifier, or
            ``out`` is not empty.
    """
    folder, out = Path(folder), Path(out)
    require_free(out)
    kind = read_card(folder)["pluralign"]
    if kind == "reward_model":
        reward_model = load_reward_model(folder, model=model)
        _save(out, folder, *sequence_classifier(reward_model), probes=_probes(reward_model))
        return "sequence classifier"
    backbone = _plain(load_language_policy(folder, model=model))
    _require_architecture(backbone.model)
    _save(out, folder, backbone.model, backbone.tokenizer)
    return "language model"


def exported_settings(folder: str | Path) -> RewardSettings | None:
    """Template and length that an exported reward model was trained with; None without its card.

    Raises:
        InputError: The card does not contain them.
    """
    card = Path(folder) / CARD_COPY
    return read_settings(Path(folder), read_json(card), token_budget=1) if card.is_file() else None


def _plain(backbone: Backbone) -> Backbone:
    """A backbone, changed, with the weights of its architecture: without adapter, and not in 4 bits."""
    merged = merged_backbone(backbone)
    if is_quantized(merged.model):
        _log.warning("%s: its trunk, which is in 4 bits, is dequantised", backbone.name)
        dequantize(merged.model)
    return merged


def _save(out: Path, trained: Path, model: Any, tokenizer: Any, *, probes: Any = None) -> None:
    with folder_when_whole(out) as temporary, no_loading_bars():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        shutil.copy(trained / CARD, temporary / CARD_COPY)
        if probes is not None:
            write_json(temporary / PROBES, probes)


def _probes(reward_model: RewardModel) -> dict[str, list[Any]]:
    """Token ids and rewards of a few texts."""
    rewards = reward_model.score_decisions(_PROBES)
    read = [reward_model.reader.read(probe.prompt, probe.options) for probe in _PROBES]
    return {
        "token_ids": [list(path) for trees in read for path in trees.paths],
        "rewards": [float(reward) for own in rewards for reward in own.mean],
    }


def sequence_classifier(reward_model: RewardModel) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A reward model as a sequence classifier, with scores equal within 1e-4, and its tokenizer.

    Raises:
        InputError: The reward is no linear function of the last token's hidden state, the architecture has no
            sequence classifier, or the scores differ.
    """
    shape = reward_model.head.shape
    reasons = {
        "weights tokens by attention among them": shape.weighting != "none",
        "sums over tokens": shape.reduction != "last",
        "reads a token's reward before the token": shape.at_source,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"the reward of {reward_model.name!r} (method {reward_model.card.method!r}) {reason}; a "
                "sequence classifier only reads the last token"
            )
    source: Any = _plain(reward_model.backbone).model
    if source.config.is_encoder_decoder:
        raise InputError("sequence classifiers of encoder-decoder models have heads of another shape")
    tokenizer = reward_model.backbone.tokenizer
    pad = _pad_token(tokenizer)
    described = {k: v for k, v in source.config.to_dict().items() if k not in ("id2label", "label2id")}
    config = source.config.__class__.from_dict({
        **described, "num_labels": 1, "pad_token_id": pad,
        # Pipelines of transformers and vLLM then return the logit, not its sigmoid.
        "problem_type": "regression",
    })  # fmt: skip
    models: Any = AutoModelForSequenceClassification
    try:
        # Initial weights, which the trained ones replace, are not drawn from the caller's random numbers.
        with seeded(0):
            model = models.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise InputError(
            f"models of type {config.model_type!r} have no sequence classifier in transformers"
        ) from error
    getattr(model, model.base_model_prefix).load_state_dict(trunk_of(source).state_dict())
    with torch.no_grad():
        model.score.weight.copy_(reward_model.head.mean.weight)
    _check_scores(model.eval(), reward_model)
    return model, tokenizer


def _require_architecture(model: Any) -> None:
    """Refuse weights that the model's architecture has no place for: loading would leave them out."""
    with torch.device("meta"):
        plain: Any = type(model)(model.config)
    if odd := sorted(set(model.state_dict()) - set(plain.state_dict())):
        raise InputError(f"models of type {model.config.model_type!r} have no place for its weights {odd[0]}")


def _pad_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """A padding token other than the end-of-text token: a classifier reads the last token that is not
    padding, which would otherwise be the one before the end of text."""
    eos: Any = tokenizer.eos_token_id
    pad: Any = tokenizer.pad_token_id
    if pad is not None and pad != eos:
        return int(pad)
    for token, number in zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True):
        if number != eos:
            tokenizer.pad_token = token
            return int(number)
    raise InputError("the tokenizer has no special token for padding other than the end-of-text token")


@torch.no_grad()
def _check_scores(model: Any, reward_model: RewardModel) -> None:
    for decision, rewards in zip(_PROBES, reward_model.score_decisions(_PROBES), strict=True):
        read = reward_model.reader.read(decision.prompt, decision.options)
        rows = [list(path) for path in read.paths]
        device = next(model.parameters()).device
        found = (
            torch.cat([model(torch.tensor([row], device=device)).logits[:, 0] for row in rows]).cpu().double()
        )
        gap = float((found - torch.as_tensor(rewards.mean)).abs().max())
        if not gap <= TOLERANCE:
            raise InputError(f"its scores as a sequence classifier would differ by {gap:.2g}")
