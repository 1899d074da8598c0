"""Examples that loaders make of rows, other than preference pairs and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pluralign.core.splits import Split


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion of a prompt with its reward.

    Args:
        prompt: Text that the model reads; ``prompt + completion`` is the whole text.
        completion: Text of the completion; an empty one is the end of text alone.
        reward: Reward of the whole completion.
        objective: Name of the objective that the reward is about.
        split: train, validation or test; no prompt appears in two splits.
    """

    prompt: str
    completion: str
    reward: float
    objective: str = ""
    split: Split = "train"


@dataclass(frozen=True)
class Prompt:
    """A prompt to complete.

    Args:
        given: Text or messages, as in the source.
        text: Text that the model reads.
    """

    given: Any
    text: str
