"""Examples that loaders make of rows, other than preference pairs and demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pluralign.core import InputError
from pluralign.core.splits import Split


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion of a prompt with its reward.

    Args:
        prompt: Text that the model reads; ``prompt + completion`` is the whole text.
        completion: Text of the completion; an empty one is the end of text alone (of the turn, after
            messages).
        reward: Reward of the whole completion.
        objective: Name of the objective that the reward is about.
        split: train, validation or test; see `Demonstration`.
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


@dataclass(frozen=True)
class RankedCompletions:
    """Several completions of one prompt, each with a level of quality.

    Args:
        prompt: Text that the model reads.
        completions: Texts of two or more completions; an empty one is the end of text alone.
        levels: Level of each completion in [0, 1], larger is better. Levels have to mean the same in all
            prompts: shares of the list that a completion is better than, or ranks, not raw rewards.
        objective: Name of the objective that the levels are about.
        split: train, validation or test; no prompt appears in two splits.

    Raises:
        InputError: There are fewer than two completions, not one level for each, or a level is outside
            [0, 1].
    """

    prompt: str
    completions: tuple[str, ...]
    levels: tuple[float, ...]
    objective: str = ""
    split: Split = "train"

    def __post_init__(self) -> None:
        if len(self.completions) < 2:
            raise InputError(f"expected two or more, found {len(self.completions)}", field="completions")
        if len(self.levels) != len(self.completions):
            raise InputError(
                f"expected one for each of {len(self.completions)} completions, found {len(self.levels)}",
                field="levels",
            )
        for level in self.levels:
            if not 0 <= level <= 1:
                raise InputError(f"must be from 0 to 1, found {level}", field="levels")
