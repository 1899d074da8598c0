"""A value model: a trunk with a head that tells, after each token, how a completion will be rewarded."""

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
from pluralign.rewards.reward_model import RewardSettings, fill_head, read_settings
from pluralign.rewards.value_head import ValueHead, make_value_head

KIND = "value_model"


@dataclass(frozen=True)
class RewardScale:
    """The unit of values: how far from the mean of the training rewards, in their standard deviations.

    Values of objectives whose rewards have different units can so be added up.

    Args:
        mean: of the rewards that were learned from.
        deviation: their standard deviation, above 0.
    """

    mean: float
    deviation: float


class ValueModel:
    """Tells what reward a completion will end with, after each of its tokens.

    Args:
        name: how reports call it.
        backbone: the trunk, as trained.
        head: the value head.
        scale: the unit of its values.
        settings: how text is read.
        card: where it comes from.
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
        """The value after each token of each option (completion) of each decision, in units of the scale.

        The last token is the end of text.
        """
        read = [self.reader.read(decision.prompt, decision.options) for decision in decisions]

        def of_tokens(hidden: Tensor, forest: Forest) -> list[npt.NDArray[np.float64]]:
            values = self.head.values(self.head(hidden[forest.places])).double().cpu()
            return [own.numpy() for own in values.split(forest.lengths.tolist())]

        return map_completions(self.backbone.model, read, of_tokens, token_budget=self.settings.token_budget)


@dataclass(frozen=True, eq=False)
class ValueFolder:
    """What a value model's folder holds, its trunk not loaded.

    Args:
        path: the folder.
        content: its card.
        head: the trained head.
        scale: the unit of its values.
        settings: how text is read.
    """

    path: Path
    content: Mapping[str, Any]
    head: ValueHead
    scale: RewardScale
    settings: RewardSettings

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter; None where it has none."""
        adapted = any(name.startswith(f"{ADAPTER}/") for name in self.content["files"])
        return self.path / ADAPTER if adapted else None

    @property
    def whole(self) -> bool:
        """Whether its trunk is another than the backbone's and no adapter on it."""
        return TRUNK in self.content["files"]


def save_value_model(
    folder: Path, model: ValueModel, tensors: Mapping[str, torch.Tensor], adapter: Any = None
) -> None:
    """Write a value model to a folder, whole or not at all (`write_folder`).

    Args:
        folder: made where it does not exist.
        model: what was trained; its card goes with it.
        tensors: the weights of the trunk that training changed; none with an adapter or a frozen trunk.
        adapter: the PEFT model, if the trunk learned through one.

    Raises:
        InputError: the folder cannot be written.
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
    """Read all of a value model's folder but its trunk.

    Args:
        folder: what ``learn value`` wrote.
        token_budget: tokens in one forward pass.

    Raises:
        InputError: no such folder, one of another method, or missing or damaged files.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    head = make_value_head(content.get("head") or {})
    fill_head(head, folder)
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
    folder: Path, *, dtype: torch.dtype | None = None, token_budget: int = 4096
) -> ValueModel:
    """Read a value model from its folder.

    Args:
        folder: what ``learn value`` wrote.
        dtype: of the trunk; float32 by default, as trained. The head stays in float32.
        token_budget: tokens in one forward pass.

    Raises:
        InputError: see `read_value_folder`; or another backbone than the one that was trained.
    """
    found = read_value_folder(folder, token_budget=token_budget)
    content = found.content
    backbone = load_tuned_backbone(found.path, content, dtype=dtype)
    if found.head.dimension != backbone.hidden_size:
        raise InputError(
            f"its head reads states of width {found.head.dimension}, the backbone's have "
            f"{backbone.hidden_size}",
            path=found.path,
        )
    card = Card(**{f.name: content[f.name] for f in dataclasses.fields(Card)})
    return ValueModel(str(content["name"]), backbone, found.head, found.scale, found.settings, card)
