"""Blade Ink, the engine that runs compiled Ink, with errors that name the story."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from pluralign.core import InputError

MAX_LINES_PER_STEP = 10_000
"""How many lines a step may show before it counts as an endless loop."""

LINE_SECONDS = 5.0
"""How long one line may take before it counts as an endless loop; others take microseconds."""

# Where these are reported, play is over without an -> END: the author's slip, and no reader minds.
_LOOSE_ENDS = ("ran out of content", "unexpectedly reached end of content")


class Engine:
    """One run of a story.

    Args:
        source: the compiled story's text.
        path: its file, for complaints.
        line_seconds: see `LINE_SECONDS`.

    Attributes:
        loose_end: what the engine said where the last step came to no choice and no end; empty otherwise.

    Raises:
        InputError: the engine is not installed, or does not take the story.
    """

    def __init__(self, source: str, path: Path, line_seconds: float = LINE_SECONDS) -> None:
        try:
            from bink.story import Story
        except ModuleNotFoundError as error:
            raise InputError("Ink stories need Blade Ink: pip install 'pluralign[ink]'") from error
        except (RuntimeError, OSError) as error:
            raise InputError(f"Blade Ink does not run on this machine: {error}") from error
        self.path = path
        self.loose_end = ""
        self._line_seconds = line_seconds
        self._errors: list[str] = []
        with self._telling():
            self._story: Any = Story(source)
            # An external function that the author wrote a fallback for in Ink needs nobody to bind it.
            self._story.set_allow_external_function_fallbacks(True)
            self._story.set_error_handler(self._note)

    @property
    def global_tags(self) -> list[str]:
        """The tags above the story's first line."""
        with self._telling():
            return list(self._story.get_global_tags())

    @property
    def options(self) -> list[str]:
        """The options now listed."""
        with self._telling():
            return list(self._story.get_current_choices())

    @property
    def state(self) -> str:
        """The whole state, the random numbers' among it; equal states have equal texts."""
        with self._telling():
            return self._story.save_state()

    def load(self, state: str) -> None:
        """Return to a state."""
        with self._telling():
            self._story.load_state(state)

    def number(self, variable: str) -> float | None:
        """A global variable's value; None where it is no number or truth value."""
        try:
            with self._telling():
                value = self._story.get_variable(variable)
        except TypeError:
            # Divert targets have no Python form.
            return None
        return float(value) if isinstance(value, bool | int | float) else None

    def choose(self, option: int) -> list[str]:
        """Take an option; returns the tags that stand on it."""
        with self._telling():
            tags = list(self._story.get_current_choices().get_tags(option))
            self._story.choose_choice_index(option)
        return tags

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Run to the next choice or the end, line by line: each with its tags.

        Raises:
            InputError: the story is at fault, or in an endless loop.
        """
        story, self.loose_end = self._story, ""
        for _ in range(MAX_LINES_PER_STEP):
            with self._telling():
                if not story.can_continue():
                    return
                # The engine's loop cannot be interrupted from outside; it looks at the clock itself.
                if not story.continue_async(1000.0 * self._line_seconds):
                    raise self._error(f"no line's end after {self._line_seconds:g} seconds: an endless loop")
                text, tags = story.get_current_text(), list(story.get_current_tags())
            yield text.strip(), tags
        raise self._error(f"no choice after {MAX_LINES_PER_STEP} lines: an endless loop")

    def _note(self, message: str, is_error: bool) -> None:
        if is_error:
            self._errors.append(message)

    @contextlib.contextmanager
    def _telling(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._error(f"the Ink engine stopped: {error}") from None
        errors, self._errors = self._errors, []
        for message in errors:
            if not any(end in message for end in _LOOSE_ENDS):
                raise self._error(f"the Ink engine stopped: {message}")
            self.loose_end = message

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self.path)
