"""What play for coverage has covered, in figures and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pluralign.collect.chooser import Chooser
from pluralign.collect.coverage import CoverageChooser, CoverageReport, LackingOption
from pluralign.collect.planned import PlannedCoverage

SHOWN_OPTIONS = 5
"""Number of options without enough visits that `Covered.lines` names."""


@dataclass(frozen=True)
class Covered:
    """Options that a file of episodes covers.

    Args:
        report: Numbers of options.
        lacking: Options without enough visits.
        state_options: Number of options of the states met, and how many were taken; None if play did not
            plan through states.
    """

    report: CoverageReport
    lacking: Sequence[LackingOption]
    state_options: tuple[int, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        rows = [option.as_json() for option in self.lacking]
        found: dict[str, Any] = {"coverage": {**asdict(self.report), "lacking": rows}}
        if self.state_options is not None:
            found["state_options"], found["state_options_taken"] = self.state_options
        return found

    def lines(self) -> list[str]:
        """The same in words, with the first options that lack visits."""
        found, need = self.report, self.report.needed
        rest = "were not" if need == 1 else f"have fewer than {need} visits"
        sentences = [
            f"{found.taken} of {found.options} options of {found.decisions} decisions were taken; "
            f"{found.missing} {rest}"
        ]
        sentences += [
            f"    {option.text!r} (decision {option.decision.key}, {option.visits} of {need} visits)"
            for option in self.lacking[:SHOWN_OPTIONS]
        ]
        if len(self.lacking) > SHOWN_OPTIONS:
            sentences.append(f"    and {len(self.lacking) - SHOWN_OPTIONS} more; --json writes all of them")
        if self.state_options is not None:
            options, taken = self.state_options
            sentences.append(f"{taken} of {options} options of the states met were taken")
        return sentences


def covered(chooser: Chooser, needed: int = 1) -> Covered | None:
    """What a chooser has covered; None if it does not play for coverage.

    Args:
        chooser: Chooser that played.
        needed: Number of visits that each option should have.
    """
    if not isinstance(chooser, CoverageChooser | PlannedCoverage):
        return None
    states = chooser.state_options if isinstance(chooser, PlannedCoverage) else None
    return Covered(chooser.counts.report(needed), chooser.counts.lacking(needed), states)
