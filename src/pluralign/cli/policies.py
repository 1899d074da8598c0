"""What a policy's name on the command line stands for: the one dict from names to functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pluralign.cli.common import named_entries
from pluralign.core import InputError, Policy, UniformPolicy

if TYPE_CHECKING:
    from pluralign.lm.language_model import LanguageModel
    from pluralign.options.features import FeatureStore

DEFAULT_MODEL = "smollm2-135m"


@dataclass
class Models:
    """The language model of a run and its features, loaded when first asked for.

    Args:
        model: hub id, local folder or ``smollm2-135m``.
        features: folder where features are kept between runs; None keeps them in memory.
        fast: compute in bfloat16 where the machine is fast at it.
    """

    model: str = DEFAULT_MODEL
    features: Path | None = None
    fast: bool = True

    @cached_property
    def language_model(self) -> LanguageModel:
        """The language model."""
        import torch

        from pluralign.lm.backbone import load_backbone
        from pluralign.lm.language_model import LanguageModel

        return LanguageModel(load_backbone(self.model, dtype=None if self.fast else torch.float32))

    @cached_property
    def store(self) -> FeatureStore:
        """Its features."""
        from pluralign.options.features import FeatureStore

        return FeatureStore(self.language_model.backbone, self.features)


def _random(models: Models) -> Policy:
    return UniformPolicy()


NAMED_POLICIES: dict[str, Callable[[Models], Policy]] = {"random": _random}


def open_policy(name: str, models: Models, *, temperature: float = 1.0) -> Policy:
    """The policy of this name: ``random``, the folder of a trained policy, or a language model that
    takes options in proportion to their likelihood.

    Raises:
        InputError: there is no such policy.
    """
    if name in NAMED_POLICIES:
        return NAMED_POLICIES[name](models)
    folder = Path(name)
    if (folder / "card.json").exists():
        return open_trained(folder, models)
    from pluralign.options.language_policy import LanguageModelPolicy

    own = models if name == models.model else Models(name, models.features)
    return LanguageModelPolicy(own.language_model, own.store, temperature=temperature)


def open_trained(folder: Path, models: Models) -> Policy:
    """The trained policy in a folder; its trunk is the one that its card names.

    Raises:
        InputError: the folder holds none.
    """
    from pluralign.options.checkpoint import load_card, load_policy

    if not folder.is_dir():
        raise InputError("no such folder", path=folder)
    name = str(load_card(folder).backbone.get("name", models.model))
    own = models if name == models.model else Models(name, models.features)
    return load_policy(folder, own.store)


def parse_policies(entries: tuple[str, ...]) -> dict[str, Path]:
    """Read ``NAME=DIR`` entries.

    Raises:
        InputError: see `named_entries`.
    """
    found = named_entries(entries, "policies", "NAME=DIR", required=False)
    return {name: Path(folder) for name, folder in found.items()}
