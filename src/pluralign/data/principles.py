"""Principles in prompts: one reward or policy for many objectives, each described in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pluralign.core import Decision, InputError, Objective, PreferencePair, Segment

PRINCIPLED = "principled"
"""Objective of pairs that have their own principle in the prompt."""


def with_principle(prompt: str, principle: str) -> str:
    """The prompt after a principle, in the form that `principled_pairs` trains on.

    Examples:
        >>> with_principle("Shall I tell her?", "The act deceives nobody.")
        'Principle: The act deceives nobody.\\n\\nShall I tell her?'
    """
    return f"Principle: {principle.strip()}\n\n{prompt}"


def principled_decision(decision: Decision, principle: str) -> Decision:
    """The decision with the principle before its prompt."""
    return Decision(with_principle(decision.prompt, principle), decision.options)


def principled_pairs(
    pairs: Sequence[PreferencePair], objectives: Sequence[Objective]
) -> list[PreferencePair]:
    """Pairs of several objectives as pairs of one, with each pair's own objective before its prompts.

    What learns from them reads the principle, and can be asked about one that it was not trained on
    (RewardAnything, Yu et al. 2025, asks a language model so).

    Args:
        pairs: Pairs of any of the objectives.
        objectives: Objectives with descriptions.

    Raises:
        InputError: A pair's objective is not among them.
    """
    described = {objective.name: objective.description for objective in objectives}
    found: list[PreferencePair] = []
    for row, pair in enumerate(pairs, start=1):
        if pair.objective not in described:
            raise InputError(
                f"unknown objective '{pair.objective}'; known: {', '.join(described)}",
                row=row,
                field="objective",
            )
        principle = described[pair.objective]
        found.append(
            replace(
                pair, chosen=_segment(pair.chosen, principle), rejected=_segment(pair.rejected, principle),
                objective=PRINCIPLED,
            )
        )  # fmt: skip
    return found


def _segment(segment: Segment, principle: str) -> Segment:
    steps = [replace(step, decision=principled_decision(step.decision, principle)) for step in segment.steps]
    return replace(segment, steps=tuple(steps))
