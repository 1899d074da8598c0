"""Weights that depend on the prompt: a linear layer on the mean state of a frozen trunk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.core.jsonl import Fields
from pluralign.core.messages import Messages, Template
from pluralign.folders.backbones import load_folder_backbone
from pluralign.folders.card import CARD, HEAD, Card, load_card, read_folder, write_folder
from pluralign.folders.tensors import filled, read_tensors
from pluralign.lm.backbone import Backbone
from pluralign.lm.prompt_states import mean_states
from pluralign.lm.prompts import TEMPLATES
from pluralign.rewards.reward_model import RewardSettings, read_settings

KIND = "prompt_weights"
_SPREAD = 1e-6


class WeightsHead(nn.Module):
    """Logits of the weights: a linear layer on standardised features, zero at the start (equal weights).

    Args:
        dimension: Width of the trunk's states.
        objectives: Number of objectives.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, dimension: int, objectives: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimension, objectives)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("centre", torch.zeros(dimension))
        self.register_buffer("spread", torch.ones(dimension))

    def standardise_by(self, features: Float[Tensor, "prompts d"]) -> None:
        """Take centre and spread of the features from these."""
        self.centre = features.mean(dim=0)
        self.spread = features.std(dim=0, correction=0).clamp_min(_SPREAD)

    def forward(self, features: Float[Tensor, "prompts d"]) -> Float[Tensor, "prompts objectives"]:
        """Logits of the weights."""
        return self.linear((features - self.centre) / self.spread)


class PromptWeights:
    """Suggests weights for a prompt: softmax of a linear layer on the trunk's mean state.

    Args:
        backbone: Frozen trunk.
        head: Linear layer.
        objectives: Objectives, in the order of the layer's outputs.
        settings: Settings for reading prompts.
        card: Card of the model.
    """

    def __init__(
        self, backbone: Backbone, head: WeightsHead, objectives: Sequence[str],
        settings: RewardSettings | None = None, card: Card | None = None,
    ) -> None:  # fmt: skip
        self.backbone, self.head = backbone, head.to(backbone.device).eval()
        self.objectives, self.settings = tuple(objectives), settings or RewardSettings()
        self.card = card or Card("")
        self._turn = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which have a turn of their own."""
        return {name: value for name, value in self.__dict__.items() if name != "_turn"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._turn = threading.Lock()

    @property
    def template(self) -> Template:
        """Template of messages, and of texts by users."""
        return TEMPLATES[self.settings.template](self.backbone.tokenizer, self.settings.control_tokens)

    def text_of(self, prompt: str | Messages) -> str:
        """A prompt as the text that is read."""
        template = self.template
        return template.quote_prompt(prompt) if isinstance(prompt, str) else template(prompt, True)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "prompts d"]:
        """Mean state of each prompt, in float32.

        Args:
            texts: Prompts as rendered texts.

        Raises:
            InputError: A prompt has no tokens.
        """
        settings = self.settings
        return mean_states(
            self.backbone, texts, max_length=settings.max_length, token_budget=settings.token_budget
        )

    def weights(self, prompts: Sequence[str | Messages]) -> npt.NDArray[np.float64]:
        """Suggested weights, shape (prompts, objectives). Each row depends on its prompt alone.

        Args:
            prompts: Texts, used as they are (names of control tokens are ordinary text), or messages.
        """
        with self._turn, torch.inference_mode():
            logits = self.head(self.features([self.text_of(prompt) for prompt in prompts]))
            return torch.softmax(logits.double(), dim=1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write the folder of the model.

        Raises:
            InputError: The folder cannot be written.
        """
        settings = self.settings
        content = {
            "name": folder.name, "objectives": list(self.objectives), "max_length": settings.max_length,
            "template": settings.template,
        }  # fmt: skip
        write_folder(folder, KIND, self.card, content, {HEAD: self.head.state_dict()})


def load_prompt_weights(
    folder: str | Path, *, dtype: torch.dtype | None = None, model: str | None = None
) -> PromptWeights:
    """Load a model that suggests weights.

    Args:
        folder: Folder that `fit_weights` wrote.
        dtype: Floating-point type of the trunk; float32 by default, as in training.
        model: Hub id or folder of the trunk, if it was moved.

    Raises:
        InputError: The folder holds another kind of model, or files are missing or damaged.
    """
    folder = Path(folder)
    content = read_folder(folder, KIND, HEAD)
    names = Fields(content, folder / CARD, 1).texts("objectives")
    if len(names) < 2:
        raise InputError("expected two or more objectives", path=folder / CARD, field="objectives")
    settings = read_settings(folder, content, RewardSettings.token_budget)
    backbone = load_folder_backbone(folder, content, dtype=dtype, model=model)
    tensors = read_tensors(folder / HEAD)
    try:
        head = filled(lambda: WeightsHead(backbone.hidden_size, len(names)), tensors)
    except RuntimeError as error:
        raise InputError(
            "has tensors of other names or shapes than its card says", path=folder / HEAD
        ) from error
    return PromptWeights(backbone, head, names, settings, load_card(folder))
