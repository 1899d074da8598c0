"""Options of a decision as segments of a single step."""

from __future__ import annotations

from dataclasses import replace

from pluralign.core.trajectory import Segment, Step

OPTION = "option-"
"""Prefix of the pseudo-trajectory of a decision, whose step k takes option k. All options of a decision are
therefore in one split, and a comparison's id does not depend on the number of episodes collected."""


def option_segment(step: Step) -> Segment:
    """The option that a step took, without the text that followed."""
    return Segment(f"{OPTION}{step.decision.key}", step.action, (replace(step, outcome=""),))


def is_option(segment: Segment) -> bool:
    """Whether a segment is from `option_segment`."""
    return segment.trajectory_id.startswith(OPTION)
