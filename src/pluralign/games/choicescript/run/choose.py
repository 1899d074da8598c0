"""Instruction that lists the options of a choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pluralign.games.choicescript.language.values import EvaluationError
from pluralign.games.choicescript.run.instructions import STOPPED, Compiled, Instruction, Machine, Option


@dataclass(slots=True)
class Choose(Instruction):
    """``*choice`` and ``*fake_choice``: stops and lists the options.

    Args:
        options: The options.
        fixed: Their texts, if they are always listed.
        lines: The options and the lines among them that are none.
        falls: Function from the slots to whether play may fall out of every option; None if the last option
            shown needs no lines under it.
    """

    options: tuple[Option, ...]
    fixed: tuple[str, ...] | None = None
    lines: tuple[Option, ...] = ()
    falls: Compiled | None = None

    def run(self, machine: Machine) -> int:
        """See `Instruction.run`."""
        if self.fixed is not None:
            machine.present(self.fixed, self.options)
            return STOPPED
        slots = machine.slots
        listed: list[Option] = []
        texts: list[str] = []
        for option in self.lines:
            try:
                if option.is_listed(slots):
                    if option.fault:
                        raise EvaluationError(option.fault)
                    listed.append(option)
                    texts.append(option.text if option.render is None else option.render(slots))
            except EvaluationError as error:
                raise EvaluationError(str(error), option.line) from None
        if self.falls is not None:
            self._check_last(slots, self.falls)
        if not listed:
            raise EvaluationError("no option of this choice can be taken here")
        machine.present(tuple(texts), tuple(listed))
        return STOPPED

    def _check_last(self, slots: list[Any], falls: Compiled) -> None:
        last: Option | None = None
        for option in self.options:
            if option.is_shown(slots):
                last = option
            elif not option.empty and (option.around is None or option.around(slots)):
                # The lines of an option that its own line hides count as those of the one above.
                last = None
        if last is not None and last.empty and not falls(slots):
            raise EvaluationError("this option has no lines under it", last.line)

    def successors(self, here: int) -> Iterator[int]:
        """See `Instruction.successors`."""
        return iter(())
