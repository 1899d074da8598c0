"""Value models: a trunk with a head that predicts, after each token, a completion's final reward."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pluralign.core import Decision, InputError
from pluralign.folders.card import ADAPTER, CARD, HEAD, TRUNK, Card, read_folder, write_folder
from pluralign.folders.tuned import load_tuned_backbone
from pluralign.lm.backbone import Backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.forest import Forest
from pluralign.lm.map_forests import map_completions
from pluralign.lm.tensors import to_list
from pluralign.rewards.reward_model import RewardSettings, read_head, read_settings
from pluralign.rewards.value_head import ValueHead, make_value_head

KIND = "value_model"


@dataclass(frozen=True)
class RewardScale:
    """Mean and standard deviation of the training rewards; values are standardised with them.

    Values of objectives with different reward units can therefore be added.

    Args:
        mean: Mean of the training rewards.
        deviation: Standard deviation of the training rewards, above 0.
    """

    mean: float
    deviation: float


class ValueModel:
    """Predicts the final reward of a completion after each of its tokens.

    Args:
        name: Name in reports.
        backbone: Trained trunk.
        head: Value head.
        scale: Scale of its values.
        settings: Settings for reading text.
        card: Card of the model.
    """

    def __init__(
        self, name: str, backbone: Backbone, head: ValueHead, scale: RewardScale,
        settings: RewardSettings | None = None, card: Card | None = None,
    ) -> None:  # fmt: skip
        self.name, self.backbone, self.scale = name, backbone, scale
        self.head = head.to(backbone.device).eval()
        self.settings, self.card = settings or RewardSettings(), card or Card("")
        self.reader = CompletionReader.for_model(backbone.model, backbone.tokenizer, self.settings.max_length)

    @torch.inference_mode()
    def values(self, decisions: Iterable[Decision]) -> list[list[npt.NDArray[np.float64]]]:
        """Value after each token of each option (completion) of each decision, in units of the scale.

        The last token is the end-of-text token.
        """
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]

        def of_tokens(hidden: Tensor, forest: Forest) -> list[npt.NDArray[np.float64]]:
            values = self.head.values(self.head(hidden[forest.places])).cpu().double()
            return [own.numpy() for own in values.split_with_sizes(to_list(forest.lengths))]

        return map_completions(self.backbone.model, read, of_tokens, token_budget=self.settings.token_budget)


@dataclass(frozen=True, eq=False)
class ValueFolder:
    """Contents of a value model's folder, without loading its trunk.

    Args:
        path: Path of the folder.
        content: Card of the model.
        head: Trained head.
        scale: Scale of its values.
        settings: Settings for reading text.
    """

    path: Path
    content: Mapping[str, Any]
    head: ValueHead
    scale: RewardScale
    settings: RewardSettings

    @property
    def adapter(self) -> Path | None:
        """Folder of its adapter; None if it has none."""
        adapted = any(name.startswith(f"{ADAPTER}/") for name in self.content["files"])
        return self.path / ADAPTER if adapted else None

    @property
    def whole(self) -> bool:
        """Whether its trunk has trained weights of its own instead of an adapter or the plain backbone."""
        return TRUNK in self.content["files"]


def save_value_model(
    folder: Path, model: ValueModel, tensors: Mapping[str, torch.Tensor], adapter: Any = None
) -> None:
    """Write a value model to a folder, completely or not at all (`write_folder`).

    Args:
        folder: Output folder; created if necessary.
        model: Value model, with its card.
        tensors: Trained weights of the trunk; empty with an adapter or a frozen trunk.
        adapter: PEFT model if the trunk was trained through an adapter.

    Raises:
        InputError: The folder cannot be written.
    """
    content = {
        "name": model.name,
        "head": model.head.describe(),
        "rewards": dataclasses.asdict(model.scale),
        "max_length": model.settings.max_length,
        "template": model.settings.template,
    }
    files = {HEAD: model.head.state_dict()} | ({TRUNK: tensors} if tensors else {})
    write_folder(folder, KIND, model.card, content, files, adapter)


def read_value_folder(folder: Path, *, token_budget: int = 4096) -> ValueFolder:
    """Read a value model's folder, except for its trunk.

    Args:
        folder: Folder written by ``learn value``.
        token_budget: Largest number of tokens per forward pass.

    Raises:
        InputError: The folder does not exist or holds another kind of model, or files are missing or damaged.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    head = read_head(make_value_head, folder, content)
    settings = read_settings(folder, content, token_budget)
    try:
        scale = RewardScale(**{key: float(value) for key, value in content["rewards"].items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"holds no scale of rewards: {error}", path=folder / CARD, field="rewards"
        ) from error
    if not math.isfinite(scale.mean) or not 0 < scale.deviation < math.inf:
        raise InputError(f"holds no scale of rewards: {scale}", path=folder / CARD, field="rewards")
    return ValueFolder(folder, content, head, scale, settings)


def load_value_model(
    folder: Path, *, dtype: torch.dtype | None = None, token_budget: int = 4096, model: str | None = None
) -> ValueModel:
    """Load a value model from its folder.

    Args:
        folder: Folder written by ``learn value``.
        dtype: Floating-point type of the trunk; float32 by default, as in training. The head stays in
            float32.
        token_budget: Largest number of tokens per forward pass.
        model: Hub id or folder of the base model, if it was moved.

    Raises:
        InputError: See `read_value_folder`; or the backbone is not the one that it was trained on.
    """
    found = read_value_folder(folder, token_budget=token_budget)
    content = found.content
    backbone = load_tuned_backbone(found.path, content, dtype=dtype, model=model)
    if found.head.dimension != backbone.hidden_size:
        raise InputError(
            f"its head needs states of width {found.head.dimension}, the backbone has width "
            f"{backbone.hidden_size}",
            path=found.path,
        )
    card = Card(**{f.name: content[f.name] for f in dataclasses.fields(Card)})
    return ValueModel(str(content["name"]), backbone, found.head, found.scale, found.settings, card)
