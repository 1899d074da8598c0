"""Conversion of pairs of completions to one-step preference pairs, and back to TRL's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pluralign.core import Decision, InputError, PreferencePair, Segment, Step
from pluralign.core.messages import Messages
from pluralign.core.splits import Split, seed_for

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
"""Beginnings of turns in HH-RLHF's dialogues."""


@dataclass(frozen=True)
class TextPair:
    """A prompt and two completions; ``prompt + chosen`` is the whole text.

    Args:
        prompt: Prompt of the chosen completion, and of the rejected one unless it has its own.
        chosen: The better completion.
        rejected: The worse completion.
        rejected_prompt: Prompt of the rejected completion, if the prompts differ.
        margin: Reward difference between chosen and rejected; 0 if the row gives none.
        asked: Messages of the prompt, where it was rendered from messages.
        answered: Messages of the chosen completion, likewise.
        derived: Whether the prompt is the common beginning of two whole texts.
    """

    prompt: str
    chosen: str
    rejected: str
    rejected_prompt: str | None = None
    margin: float = 0.0
    asked: Messages | None = field(default=None, compare=False, repr=False)
    answered: Messages | None = field(default=None, compare=False, repr=False)
    derived: bool = field(default=False, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Text whose hash determines the pair's split: the prompt, or both completions without one."""
        return self.prompt or "\0".join(sorted((self.chosen, self.rejected)))

    @property
    def shared(self) -> tuple[str, ...]:
        """Texts with which other pairs are not independent of this one: the prompts, or the whole texts where
        the prompt is only what they have in common."""
        other = self.prompt if self.rejected_prompt is None else self.rejected_prompt
        if self.derived or not self.prompt:
            return self.prompt + self.chosen, other + self.rejected
        return self.prompt, other


class Answered(NamedTuple):
    """A completion after its prompt, and what determines its split: of a preference, what determines that of
    the pair (`TextPair`).

    Args:
        texts: Prompt and completion.
        empty: Whether the completion has no text.
        name: Text whose hash determines the split.
        shared: Texts with which other rows are not independent of this one.
    """

    texts: tuple[str, str]
    empty: bool
    name: str
    shared: tuple[str, ...]


def split_texts(chosen: str, rejected: str) -> TextPair | None:
    r"""Split two whole texts into a common prompt and two completions; None for dialogues with two prompts.

    The prompt of HH-RLHF's dialogues extends to the last ``\n\nAssistant:``, that of other texts to the last
    word of their common beginning.
    """
    if all(t.startswith(HUMAN) and ASSISTANT in t for t in (chosen, rejected)):
        ends = [t.rindex(ASSISTANT) + len(ASSISTANT) for t in (chosen, rejected)]
        if chosen[: ends[0]] != rejected[: ends[1]]:
            return None
        return TextPair(chosen[: ends[0]], chosen[ends[0] :], rejected[ends[1] :])
    # At least one word remains in each, even if one text is the beginning of the other.
    shortest = min(len(chosen.rstrip()), len(rejected.rstrip()))
    same = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    cut = max((i for i in range(same) if chosen[i].isspace()), default=0)
    # A space belongs to the following word, as in tokenizers.
    while cut and chosen[cut - 1].isspace():
        cut -= 1
    return TextPair(chosen[:cut], chosen[cut:], rejected[cut:], derived=True)


def answers_to_two_prompts(chosen: str, rejected: str) -> TextPair:
    """Two of HH-RLHF's dialogues as answers to two prompts: each prompt runs to the last assistant's turn."""
    cuts = [text.rfind(ASSISTANT) + len(ASSISTANT) for text in (chosen, rejected)]
    return TextPair(
        chosen[: cuts[0]], chosen[cuts[0] :], rejected[cuts[1] :], rejected_prompt=rejected[: cuts[1]]
    )


def one_step_pair(
    pair: TextPair, label: str, objective: str, rater: str, split: Split, seed: int
) -> PreferencePair:
    """Two completions as segments of one step, in an order drawn from the seed and the texts.

    Args:
        pair: Prompt and completions.
        label: Prefix of the segments' ids.
        objective: Name of the objective of the preference.
        rater: Name of the rater or of the source.
        split: Split of the pair.
        seed: Random seed of the order of options.
    """
    a, b = sorted((pair.chosen, pair.rejected))
    if seed_for(f"{pair.prompt}\0{a}\0{b}", seed) % 2:
        a, b = b, a
    chosen = 0 if a == pair.chosen else 1
    if pair.rejected_prompt is None:
        decision = Decision(pair.prompt, (a, b))
        segments = [Segment(f"{label}-{i}", 0, (Step(decision, i),)) for i in (0, 1)]
    else:
        prompts = (pair.prompt, pair.rejected_prompt) if chosen == 0 else (pair.rejected_prompt, pair.prompt)
        decisions = [Decision(prompt, (text,)) for prompt, text in zip(prompts, (a, b), strict=True)]
        segments = [Segment(f"{label}-{i}", 0, (Step(d, 0),)) for i, d in enumerate(decisions)]
    return PreferencePair(
        segments[chosen], segments[1 - chosen],
        objective=objective, rater=rater, split=split, margin=pair.margin,
    )  # fmt: skip


def to_trl_rows(pairs: Iterable[PreferencePair]) -> list[dict[str, str]]:
    """One-step pairs as TRL's rows: ``prompt``, ``chosen``, ``rejected``.

    Raises:
        InputError: A pair has several steps or two prompts, so it is not a TRL row.
    """
    rows: list[dict[str, str]] = []
    for number, pair in enumerate(pairs, start=1):
        (prompt, chosen), (other, rejected) = pair.texts(row=number)
        if prompt != other:
            raise InputError("TRL's rows have one prompt, but this pair's completions have two", row=number)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows
