"""Wrapper of Blade Ink, the runtime of compiled Ink; its errors name the story."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.games.ink.fallbacks import without_fallbacks

MAX_LINES_PER_STEP = 10_000
"""Number of lines in a step beyond which it counts as an endless loop."""

LINE_SECONDS = 5.0
"""Seconds after which a line counts as an endless loop; ordinary lines take microseconds."""

# Field of each choice in a saved state.
_CHOICE = '"originalChoicePath"'

# Reported where play ends without an -> END: an oversight of the author that readers do not notice.
_LOOSE_ENDS = ("ran out of content", "unexpectedly reached end of content")


class Runtime:
    """One run of a story.

    Args:
        source: Text of the compiled story.
        path: Path of its file, for error messages.
        line_seconds: Seconds after which a line counts as an endless loop.
        fallbacks: Paths of the story's fallback choices.

    Attributes:
        loose_end: Message of the runtime if the last step reached neither a choice nor an end; else empty.

    Raises:
        InputError: The runtime is not installed, or refuses the story.
    """

    def __init__(
        self,
        source: str,
        path: Path,
        line_seconds: float = LINE_SECONDS,
        fallbacks: Collection[str] = (),
    ) -> None:
        try:
            runtime: Any = importlib.import_module("bink.story")
        except ModuleNotFoundError as error:
            raise InputError("Ink stories need Blade Ink: pip install 'pluralign[ink]'") from error
        except (RuntimeError, OSError) as error:
            raise InputError(f"Blade Ink does not run on this machine: {error}") from error
        self.path = path
        self.loose_end = ""
        self._line_seconds = line_seconds
        self._fallbacks = fallbacks
        self._errors: list[str] = []
        with self._reporting():
            self._story: Any = runtime.Story(source)
            # External functions with a fallback in Ink need not be bound.
            self._story.set_allow_external_function_fallbacks(True)
            self._story.set_error_handler(self._note)

    @property
    def global_tags(self) -> list[str]:
        """The tags above the story's first line."""
        with self._reporting():
            return list(self._story.get_global_tags())

    @property
    def options(self) -> list[str]:
        """The current options."""
        with self._reporting():
            return list(self._story.get_current_choices())

    @property
    def state(self) -> str:
        """The whole state, including that of the random numbers; equal states have equal texts."""
        with self._reporting():
            saved = str(self._story.save_state())
            if self._fallbacks and saved.count(_CHOICE) > len(self._story.get_current_choices()):
                self._story.load_state(without_fallbacks(saved, self._fallbacks))
                saved = str(self._story.save_state())
            return saved

    def load(self, state: str) -> None:
        """Return to a state."""
        with self._reporting():
            self._story.load_state(state)

    def number(self, variable: str) -> float | None:
        """Value of a global variable; None if it is neither a number nor a truth value."""
        try:
            with self._reporting():
                value = self._story.get_variable(variable)
        except TypeError:
            # Divert targets have no Python form.
            return None
        return float(value) if isinstance(value, bool | int | float) else None

    def choose(self, option: int) -> list[str]:
        """Take an option and return its tags."""
        with self._reporting():
            tags = list(self._story.get_current_choices().get_tags(option))
            self._story.choose_choice_index(option)
        return tags

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Run to the next choice or the end, and yield each line with its tags.

        Raises:
            InputError: The story has an error or an endless loop.
        """
        story, self.loose_end = self._story, ""
        for _ in range(MAX_LINES_PER_STEP):
            with self._reporting():
                if not story.can_continue():
                    return
                # The runtime's loop cannot be interrupted from outside; the runtime itself checks the time.
                if not story.continue_async(1000.0 * self._line_seconds):
                    raise self._error(
                        f"a line did not end within {self._line_seconds:g} seconds: an endless loop"
                    )
                text, tags = story.get_current_text(), list(story.get_current_tags())
            yield text.strip(), tags
        raise self._error(f"no choice after {MAX_LINES_PER_STEP} lines: an endless loop")

    def _note(self, message: str, is_error: bool) -> None:
        if is_error:
            self._errors.append(message)

    @contextlib.contextmanager
    def _reporting(self) -> Generator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self._error(f"the Ink runtime stopped: {error}") from None
        errors, self._errors = self._errors, []
        for message in errors:
            if not any(end in message for end in _LOOSE_ENDS):
                raise self._error(f"the Ink runtime stopped: {message}")
            self.loose_end = message

    def _error(self, message: str) -> InputError:
        return InputError(message, path=self.path)
