"""What somebody did or wrote, offered as good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pluralign.core.errors import InputError


@dataclass(frozen=True)
class Demonstration:
    """A completion of a prompt that is offered as good. (A trajectory stands for itself.)

    Args:
        prompt: as the model reads it; ``prompt + completion`` is the whole text.
        completion: what was written.
        objective: what it is good for.
        source: where it comes from.
        split: train, validation or test; no prompt appears in two splits.

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
