"""Instruction that lists the options of a choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.games.choicescript.language.values import EvaluationError
from pluralign.games.choicescript.run.instructions import STOPPED, Compiled, Instruction, Machine, Option


@dataclass(frozen=True, slots=True)
class GuardedOptions:
    """The options under an ``*if``, ``*elseif`` or ``*else``.

    Args:
        line: Number of the line, from 1.
        holds: Function from the slots to whether its condition holds; None for always.
        lines: The options and branches in it.
        passing: Error if play passes it without entering it; "" for none.
    """

    line: int
    holds: Compiled | None
    lines: Sequence[Listed]
    passing: str

    def applies(self, slots: list[Any]) -> bool:
        """Whether its condition holds."""
        try:
            return self.holds is None or self.holds(slots)
        except EvaluationError as error:
            raise EvaluationError(str(error), self.line) from None


Listed = Option | tuple[GuardedOptions, ...]
"""An option, or the branches of an ``*if``, of which the first that holds counts."""


@dataclass(slots=True)
class Choose(Instruction):
    """``*choice`` and ``*fake_choice``: stops and lists the options.

    Args:
        options: The options.
        fixed: Their texts, if they are always listed.
        lines: The options and the lines among them that are none, in their branches.
        plain: The same if there are no branches; None if there are.
        falls: Function from the slots to whether play may fall out of every option; None if the last option
            shown needs no lines under it.
    """

    options: tuple[Option, ...]
    fixed: tuple[str, ...] | None = None
    lines: tuple[Listed, ...] = ()
    plain: tuple[Option, ...] | None = None
    falls: Compiled | None = None

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        if self.fixed is not None:
            machine.present(self.fixed, self.options)
            return STOPPED
        slots = machine.slots
        listed: list[Option] = []
        texts: list[str] = []
        reached: list[Option] = []
        falls = self.falls
        for option in _reached(self.lines, slots) if self.plain is None else self.plain:
            if falls is not None:
                reached.append(option)
            try:
                if option.is_listed(slots):
                    if option.fault:
                        raise EvaluationError(option.fault)
                    listed.append(option)
                    texts.append(option.text if option.render is None else option.render(slots))
            except EvaluationError as error:
                raise EvaluationError(str(error), option.line) from None
        if falls is not None:
            _check_last(reached, slots, falls)
        if not listed:
            raise EvaluationError("no option of this choice can be taken here")
        machine.present(tuple(texts), tuple(listed))
        return STOPPED

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())


def _reached(lines: Sequence[Listed], slots: list[Any]) -> Iterator[Option]:
    """The options that play comes to, in the branches whose conditions hold."""
    for line in lines:
        if isinstance(line, Option):
            yield line
            continue
        taken = False
        for branch in line:
            if not taken and branch.applies(slots):
                taken = True
                yield from _reached(branch.lines, slots)
            elif branch.passing:
                raise EvaluationError(branch.passing, branch.line)


def _check_last(reached: Sequence[Option], slots: list[Any], falls: Compiled) -> None:
    last: Option | None = None
    for option in reached:
        if option.is_shown(slots):
            last = option
        elif not option.empty:
            # The lines of an option that its own line hides count as those of the one above.
            last = None
    if last is not None and last.empty and not falls(slots):
        raise EvaluationError("this option has no lines under it", last.line)
