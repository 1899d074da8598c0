"""``--guides``: value models that guide ``pluralign generate``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pluralign.cli.common import named_folders
from pluralign.core import InputError, SteeringWeights
from pluralign.steer.suggest import constant_weights

if TYPE_CHECKING:
    from pluralign.steer.writers import Guides


def read_guides(
    guides: tuple[str, ...], weights: str | None, strength: float | None, candidates: int | None
) -> Guides | None:
    """The guides given by ``--guides``; None without any.

    Raises:
        InputError: An entry is malformed, a folder holds no value model, the weights name other objectives,
            or options of guides were given without guides.
    """
    named = named_folders(guides, "guides")
    if not named:
        given = {"weights": weights, "strength": strength, "candidates": candidates}
        for name in (name for name, value in given.items() if value is not None):
            raise InputError("requires --guides", field=name)
        return None
    from pluralign.steer.value_guided import Guidance
    from pluralign.steer.writers import Guides

    mix = SteeringWeights.uniform(tuple(named)) if weights is None else constant_weights(weights)
    guidance = Guidance()
    if strength is not None:
        guidance = replace(guidance, strength=strength)
    if candidates is not None:
        guidance = replace(guidance, candidates=candidates)
    return Guides(named, mix, guidance)
