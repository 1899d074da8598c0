"""Supported uses of a language model, determined by trials."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from pluralign.core import InputError
from pluralign.lm.backbone import Backbone, load_backbone, resolve_dtype
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.layers import CutTrunk
from pluralign.lm.support import Support, support_of
from pluralign.lm.tensors import seeded
from pluralign.lm.trunk import context_length
from pluralign.rewards.export import sequence_classifier
from pluralign.rewards.heads import HeadShape, RewardHead
from pluralign.rewards.reward_model import RewardModel

Way = Literal["right", "plain way", "refused"]
"""``right``: several sequences in one pass; ``plain way``: correct, but each sequence separately, slower;
``refused``: an `InputError` gives the reason."""


@dataclass(frozen=True)
class Use:
    """A use of a model.

    Args:
        way: How the model is used.
        note: Reason or limit; may be empty.
    """

    way: Way
    note: str = ""


def check_model(model: str, *, dtype: DTypeName = "auto") -> dict[str, Use]:
    """Determine the supported uses of a language model.

    >>> check_model("tiny-random", dtype="float32")["learning, scores, likelihoods"].way
    'right'

    Args:
        model: Hub id, local folder or built-in name.
        dtype: Floating-point type of the weights.

    Returns:
        Uses by name.

    Raises:
        InputError: The model cannot be loaded.
    """
    backbone = load_backbone(model, dtype=resolve_dtype(dtype))
    context = context_length(backbone.model)
    uses = {"context": Use("right", f"{context} tokens" if context else "no limit of its own")}
    if backbone.model.config.is_encoder_decoder:
        refusal = Use("refused", "an encoder-decoder is scored with, but does not write")
        uses["learning, scores, likelihoods"] = Use("right", "each prompt is encoded once")
        uses |= dict.fromkeys(("samples", "mixtures", "value guidance"), refusal)
    else:
        uses |= _passes(support_of(backbone.model))
    uses["learning of the uppermost layers"] = _tried(lambda: CutTrunk(backbone.model, 1))
    uses["export of rewards"] = _tried(lambda: _export(backbone))
    template = getattr(backbone.tokenizer, "chat_template", None)
    uses["chat template"] = Use("right") if template else Use("refused", "the tokenizer has none")
    return uses


def _passes(support: Support) -> dict[str, Use]:
    boundary = math.inf if support.factors is None else support.factors.boundary
    limit = "" if boundary == math.inf else f"the plain way beyond {boundary} tokens, where positions change"
    reading, writing = Use("right", limit), Use("right", limit)
    if support.forest is not None:
        reading = Use("plain way", support.forest)
    if support.decoding is not None:
        cached = "" if support.caching else "; without its cache, which is not that of a whole pass"
        writing = Use("plain way", support.decoding + cached)
    guidance = writing if support.factors is None else Use("plain way", "positions change with the length")
    return {
        "learning, scores, likelihoods": reading,
        "samples": writing, "mixtures": writing, "value guidance": guidance,
    }  # fmt: skip


def _tried(attempt: Callable[[], Any]) -> Use:
    try:
        attempt()
    except InputError as error:
        return Use("refused", error.message)
    return Use("right")


def _export(backbone: Backbone) -> None:
    """Export a reward model with random weights of its head, in float32, as every export is."""
    with seeded(0):
        head = RewardHead(backbone.hidden_size, HeadShape())
    model: Any = backbone.model
    own = Backbone(
        model.to(dtype=torch.float32), copy.deepcopy(backbone.tokenizer), backbone.name,
        backbone.fingerprint, backbone.hidden_size, torch.float32,
    )  # fmt: skip
    sequence_classifier(RewardModel("reward", own, head))
