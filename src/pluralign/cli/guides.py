"""Value models that lead ``pluralign generate``, as they are given on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pluralign.cli.common import named_entries
from pluralign.core import InputError, SteeringWeights
from pluralign.core.digests import source_digest
from pluralign.folders.card import CARD, read_card
from pluralign.rewards.value_model import KIND
from pluralign.steer.value_guided import Guidance


@dataclass(frozen=True)
class Guides:
    """Value models and how far they lead.

    Args:
        folders: of each objective that has weight.
        weights: of the objectives.
        guidance: strength and candidates.
    """

    folders: Mapping[str, Path]
    weights: SteeringWeights
    guidance: Guidance

    def described(self) -> dict[str, Any]:
        """What rows say of how they were led."""
        return {
            "guides": {name: str(folder) for name, folder in self.folders.items()},
            "weights": dict(self.weights),
            "strength": self.guidance.strength,
            "candidates": self.guidance.candidates,
        }

    def digests(self) -> dict[str, Any]:
        """Of the folders' cards, which hold the digests of all else."""
        return {name: source_digest(folder / CARD) for name, folder in self.folders.items()}


def read_guides(
    guides: tuple[str, ...], weights: str | None, strength: float | None, candidates: int | None
) -> Guides | None:
    """The guides that ``--guides`` names; None where it names none.

    Raises:
        InputError: an entry that cannot be read, a folder that holds no value model, weights of other
            objectives, or options of guides without any.
    """
    named = named_entries(guides, "guides", "NAME=DIR", required=False)
    if not named:
        given = {"weights": weights, "strength": strength, "candidates": candidates}
        for name in (name for name, value in given.items() if value is not None):
            raise InputError("goes with --guides", field=name)
        return None
    mix = SteeringWeights.uniform(tuple(named)) if weights is None else SteeringWeights.parse(weights)
    mix.require_known(tuple(named))
    # One without weight is not even loaded.
    folders = {name: Path(folder) for name, folder in named.items() if mix.get(name, 0.0) > 0}
    for folder in folders.values():
        read_card(folder, KIND)
    guidance = Guidance()
    if strength is not None:
        guidance = replace(guidance, strength=strength)
    if candidates is not None:
        guidance = replace(guidance, candidates=candidates)
    return Guides(folders, mix, guidance)
