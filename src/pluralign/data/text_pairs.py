"""Pairs of completions as preference pairs of one step, and back to TRL's rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pluralign.core import Decision, InputError, PreferencePair, Segment, Step
from pluralign.core.splits import Split, seed_for

HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
"""How turns begin in HH-RLHF's dialogues."""


@dataclass(frozen=True)
class TextPair:
    """A prompt and two completions; ``prompt + chosen`` is the whole text.

    Args:
        prompt: Prompt of the chosen completion, and of the rejected one where it has none of its own.
        chosen: The better completion.
        rejected: The worse completion.
        rejected_prompt: Prompt of the rejected completion, where the prompts differ.
        margin: By how much chosen is better, in units of reward; 0 where the row does not say.
    """

    prompt: str
    chosen: str
    rejected: str
    rejected_prompt: str | None = None
    margin: float = 0.0


def split_texts(chosen: str, rejected: str) -> TextPair | None:
    r"""Two whole texts as a common prompt and two completions; None for dialogues of two prompts.

    The prompt of HH-RLHF's dialogues runs to the last ``\n\nAssistant:``, that of other texts to the last
    word that both begin with.
    """
    if all(t.startswith(HUMAN) and ASSISTANT in t for t in (chosen, rejected)):
        ends = [t.rindex(ASSISTANT) + len(ASSISTANT) for t in (chosen, rejected)]
        if chosen[: ends[0]] != rejected[: ends[1]]:
            return None
        return TextPair(chosen[: ends[0]], chosen[ends[0] :], rejected[ends[1] :])
    # At least one word is left to each, even where one text begins with all of the other.
    shortest = min(len(chosen.rstrip()), len(rejected.rstrip()))
    same = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    cut = max((i for i in range(same) if chosen[i].isspace()), default=0)
    # The space goes with the word after it, as tokenizers have it.
    while cut and chosen[cut - 1].isspace():
        cut -= 1
    return TextPair(chosen[:cut], chosen[cut:], rejected[cut:])


def one_step_pair(
    pair: TextPair, label: str, objective: str, rater: str, split: Split, seed: int
) -> PreferencePair:
    """Two completions as segments of one step, in an order drawn from the seed and the texts.

    Args:
        pair: Prompt and completions.
        label: Beginning of the segments' ids.
        objective: Name of the objective that the preference is about.
        rater: Name of the rater or of the source.
        split: Split of the pair.
        seed: Seed for the order of the options.
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
        InputError: A pair has several steps or two prompts, so that it is no TRL row.
    """
    rows: list[dict[str, str]] = []
    for number, pair in enumerate(pairs, start=1):
        (prompt, chosen), (other, rejected) = pair.texts(row=number)
        if prompt != other:
            raise InputError("TRL's rows have one prompt, the completions of this pair have two", row=number)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows
