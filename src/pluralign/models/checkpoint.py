"""A trained policy on the disk: safetensors and a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pluralign.models.features import FeatureSource
from pluralign.models.option_policy import OptionPolicy


@dataclass(frozen=True)
class Card:
    """Where a policy comes from; ``card.json`` of its folder.

    Args:
        method: ``bc`` or ``cpl``.
        objective: the objective's name; empty for behaviour cloning.
        seed: of the training.
        config: the method's config.
        data: what it was trained on: files, digests, counts, ties.
        backbone: ``{"name", "fingerprint", "dtype"}`` of the trunk.
        figures: losses, training curve, seconds.
        versions: of pluralign and its main dependencies.
    """

    method: str
    objective: str = ""
    seed: int = 0
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    backbone: Mapping[str, Any] = field(default_factory=dict[str, Any])
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    versions: Mapping[str, Any] = field(default_factory=dict[str, Any])


def save_policy(policy: OptionPolicy, folder: Path, card: Card) -> None:
    """Write a policy to a folder, whole or not at all."""
    raise NotImplementedError


def load_card(folder: Path) -> Card:
    """The card of a policy's folder.

    Raises:
        InputError: no such folder, or it holds something else.
    """
    raise NotImplementedError


def load_policy(folder: Path, store: FeatureSource | None = None) -> OptionPolicy:
    """Read a policy from its folder.

    Args:
        folder: what `save_policy` wrote.
        store: where its features come from; None loads the backbone that the card names.

    Raises:
        InputError: missing or truncated files, another kind of folder, or features from another
            backbone than the policy's.
    """
    raise NotImplementedError
