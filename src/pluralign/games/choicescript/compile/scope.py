"""Variables that a scene can name: its own, the story's, and those that the engine provides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pluralign.games.choicescript.compile.codegen import Functions
from pluralign.games.choicescript.language.syntax import (
    Expression,
    ExpressionError,
    Reference,
    Variable,
    walk,
)
from pluralign.games.choicescript.language.values import (
    FALSE,
    TRUE,
    EvaluationError,
    Truth,
    Value,
    constant,
    read_variable,
    text,
)
from pluralign.games.choicescript.run.instructions import Compiled, SlotOrSet

IMPLICIT = "implicit_control_flow"
"""Variable that lets play fall out of options and into ``*else``; false in a game that does not create it."""

BUILTIN: dict[str, Value] = {
    **dict.fromkeys(
        (
            "choice_is_advertising_supported",
            "choice_is_amazon_app",
            "choice_is_android_app",
            "choice_is_ios_app",
            "choice_is_ipad_app",
            "choice_is_omnibus_app",
            "choice_is_steam",
            "choice_is_steam_deck",
            "choice_is_trial",
            "choice_kindle",
            "choice_nightmode",
            "choice_prerelease",
            "choice_purchase_supported",
            "choice_quicktest",
            "choice_randomtest",
            "choice_register_allowed",
            "choice_registered",
            "choice_restore_purchases_allowed",
            "choice_save_allowed",
            "choice_user_restored",
            IMPLICIT,
        ),
        FALSE,
    ),
    "choice_is_web": TRUE,
    "choice_subscribe_allowed": TRUE,
    "choice_release_date": "release day",
    # A clock would make two episodes of one seed differ.
    "choice_time_stamp": 0,
}
"""Variables that describe the engine: a web build without a shop, in which everything is bought."""

ACHIEVED = "choice_achieved_"
PURCHASED = "choice_purchased_"
SAVED = "choice_saved_checkpoint"
LINE = "choice_linenum"

Slots = list[Any]


class UnknownVariable(ExpressionError):
    """An expression reads an undeclared variable."""


def _unknown(name: str) -> UnknownVariable:
    return UnknownVariable(f"unknown variable '{name}': no *create and no *temp of this scene declares it")


class Scope:
    """Resolves names to slots, and compiles expressions.

    Args:
        story: Slot of each ``*create`` variable.
        achievements: Slot of each achievement.
        constants: Values that the engine provides, by name.
        deleted: Names of story variables that some ``*delete`` removes.
        beginning: Slots of the story variables and of the achievements by the beginning of their names, as
            found so far; all scenes share it.

    Attributes:
        own: Slot of each temporary variable of the scene.
        line: Number of the line that is being compiled.
    """

    def __init__(
        self,
        story: dict[str, int],
        achievements: dict[str, int],
        constants: dict[str, Value],
        deleted: frozenset[str],
        beginning: dict[str, frozenset[int]],
    ) -> None:
        self.story = story
        self.achievements = achievements
        self.constants = constants
        self.deleted = deleted
        self.own: dict[str, int] = {}
        self.line = 0
        self._beginning = beginning
        self._own_beginning: dict[str, frozenset[int]] = {}
        self._functions = Functions(self.resolve, self.lookup)

    def resolve(self, name: str) -> str:
        """Python source that reads a variable; a temporary hides a global once its ``*temp`` has run.

        Raises:
            UnknownVariable: The variable is not declared.
        """
        own, story = self.own.get(name), self.story.get(name)
        if own is None and story is None:
            return self._provided(name)
        if own is None:
            return f"read_variable(v[{story}])" if name in self.deleted else f"v[{story}]"
        if story is None:
            return f"read_variable(v[{own}])"
        return f"read_variable(v[{story}] if v[{own}] is None else v[{own}])"

    def _provided(self, name: str) -> str:
        achieved = self.achievements.get(name.removeprefix(ACHIEVED))
        if name.startswith(ACHIEVED) and achieved is not None:
            return f"(TRUE if v[{achieved}] else FALSE)"
        value = self.line if name == LINE else self._constant(name)
        if value is not None:
            return value.upper() if isinstance(value, Truth) else repr(value)
        raise _unknown(name)

    def _constant(self, name: str) -> Value | None:
        if name in self.constants:
            return self.constants[name]
        if name.startswith(PURCHASED):
            return TRUE
        return FALSE if name.startswith(SAVED) else constant(name)

    def slot(self, slots: Slots, name: str) -> int:
        """The current slot of a variable.

        Raises:
            EvaluationError: The variable does not exist.
        """
        name = name.lower()
        own = self.own.get(name)
        if own is not None and slots[own] is not None:
            return own
        story = self.story.get(name)
        if story is None or slots[story] is None:
            raise EvaluationError(f"there is no variable '{name}' here")
        return story

    def lookup(self, slots: Slots, name: str) -> Value:
        """Value of a variable by a name that is computed in play.

        Raises:
            EvaluationError: The variable does not exist, or has no value.
        """
        name = name.lower()
        if name in self.own or name in self.story:
            return read_variable(slots[self.slot(slots, name)])
        achieved = self.achievements.get(name.removeprefix(ACHIEVED))
        if name.startswith(ACHIEVED) and achieved is not None:
            return TRUE if slots[achieved] else FALSE
        value = self._constant(name)
        if value is not None:
            return value
        raise EvaluationError(f"there is no variable '{name}' here")

    def finder(self, variable: Variable | Reference) -> Callable[[Slots], int]:
        """A function from the slots to the current slot of a variable.

        Raises:
            UnknownVariable: The variable is not declared.
        """
        if isinstance(variable, Variable):
            name = variable.name
            if name not in self.own and name not in self.story:
                if name == IMPLICIT:
                    raise _unknown(name)
                self.resolve(name)
                raise ExpressionError(f"'{name}' belongs to the engine and cannot be set")
            return lambda slots: self.slot(slots, name)
        prefix, ending = variable.prefix, self.expression(variable.ending)
        return lambda slots: self.slot(slots, prefix + text(ending(slots)))

    def expression(self, expression: Expression) -> Compiled:
        """A function from the slots to the expression's value."""
        return self._functions.expression(expression)

    def condition(self, expression: Expression) -> Compiled:
        """A function from the slots to True or False."""
        return self._functions.condition(expression)

    def assignment(self, expression: Expression) -> Compiled:
        """A function from the slots to the value as a variable stores it."""
        return self._functions.assignment(expression)

    def reads(self, *read: Expression) -> frozenset[SlotOrSet]:
        """Slots that the expressions may read."""
        return frozenset(
            slot for expression in read for part in walk(expression) for slot in self._slots(part)
        )

    def _slots(self, part: Expression) -> Iterator[SlotOrSet]:
        match part:
            case Variable(name):
                for table in (self.own, self.story):
                    if name in table:
                        yield table[name]
                if name.startswith(ACHIEVED) and name.removeprefix(ACHIEVED) in self.achievements:
                    yield self.achievements[name.removeprefix(ACHIEVED)]
            case Reference(prefix, _):
                if prefix not in self._own_beginning:
                    self._own_beginning[prefix] = _beginning(self.own, prefix)
                if prefix not in self._beginning:
                    found = _beginning(self.story, prefix)
                    if ACHIEVED.startswith(prefix[: len(ACHIEVED)]):
                        found = found.union(self.achievements.values())
                    self._beginning[prefix] = found
                yield from (
                    found for found in (self._own_beginning[prefix], self._beginning[prefix]) if found
                )
            case _:
                return


def _beginning(table: dict[str, int], prefix: str) -> frozenset[int]:
    return frozenset(slot for name, slot in table.items() if name.startswith(prefix))
