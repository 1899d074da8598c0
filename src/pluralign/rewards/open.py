"""From what a person writes to what scores completions."""

from __future__ import annotations

from pathlib import Path

import torch

from pluralign.core import InputError
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import load_language_policy
from pluralign.lm.backbone import load_backbone
from pluralign.rewards.classifier import load_classifier
from pluralign.rewards.ensemble import KIND as ENSEMBLE
from pluralign.rewards.ensemble import load_ensemble
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.reward_model import RewardSettings, load_reward_model
from pluralign.rewards.scorer import CompletionScorer

CLOSED_FORM, CLASSIFIER = "closed-form", "classifier"


def open_scorer(spec: str, *, dtype: torch.dtype | None = None) -> CompletionScorer:
    """Open what gives completions a reward.

    Args:
        spec: a reward model's or an ensemble's folder; ``closed-form:DIR``, the likelihood ratio between a
            trained policy and the model that it was trained from; ``classifier:NAME`` (or NAME alone), a
            sequence classifier's folder or hub id.
        dtype: of the trunks; float32 by default.

    Raises:
        InputError: there is nothing of that kind.
    """
    kind, colon, place = spec.partition(":")
    if colon and kind == CLOSED_FORM:
        return _closed_form(Path(place), dtype)
    if colon and kind == CLASSIFIER:
        return load_classifier(place, dtype=dtype)
    folder = Path(spec)
    if not (folder / CARD).is_file():
        if folder.is_dir() and not (folder / "config.json").is_file():
            read_card(folder)
        return load_classifier(spec, dtype=dtype)
    found = read_card(folder)["pluralign"]
    if found == ENSEMBLE:
        return load_ensemble(folder, lambda member: open_scorer(member, dtype=dtype))
    if found == "language_policy":
        raise InputError(f"is a policy; its reward is {CLOSED_FORM}:{spec}", path=folder)
    return load_reward_model(folder, dtype=dtype)


def _closed_form(folder: Path, dtype: torch.dtype | None) -> LikelihoodRatio:
    content = read_card(folder)
    policy = load_language_policy(folder, dtype=dtype)
    reference = load_backbone(str(content["backbone"]["name"]), dtype=torch.float32)
    if reference.fingerprint != content["backbone"].get("fingerprint"):
        raise InputError("was trained from another model than the one of that name here", path=folder)
    if dtype is not None:
        reference = load_backbone(str(content["backbone"]["name"]), dtype=dtype)
    template = str(content.get("template", "dialogue"))
    return LikelihoodRatio(
        policy, reference, RewardSettings(template=template), f"{content['name']} closed form"
    )
