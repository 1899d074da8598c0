"""Demonstrations: completions that are offered as good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pluralign.core.errors import InputError


@dataclass(frozen=True)
class Demonstration:
    """A completion of a prompt that is offered as good. (For games, a trajectory is the demonstration.)

    Args:
        prompt: Prompt as the model reads it; ``prompt + completion`` is the whole text.
        completion: Completion.
        objective: Objective that the completion is good for.
        source: Origin of the demonstration.
        split: Train, validation or test; no prompt appears in two splits, unless it is only the common
            beginning of two whole texts.

    Examples:
        >>> import pluralign as pl
        >>> pl.Demonstration("Say:", " yes", objective="agreement").completion
        ' yes'
    """

    prompt: str
    completion: str
    objective: str = ""
    source: str = ""
    split: Literal["train", "validation", "test"] = "train"

    def __post_init__(self) -> None:
        if not self.completion.strip():
            raise InputError("is empty", field="completion")
