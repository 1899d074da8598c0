"""The prompt of language models that choose options by number."""

from __future__ import annotations

from pathlib import Path

from pluralign.core import Decision
from pluralign.lm.prompt_file import PromptFile


class ChoosePrompt:
    """Template with ``$situation``, ``$options`` (a numbered list) and ``$count`` (see `PromptFile`).

    Args:
        path: Prompt file; None uses ``collect/prompts/choose.txt``.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self._file = PromptFile(
            path,
            package="pluralign.collect",
            name="prompts/choose.txt",
            placeholders=("situation", "options", "count"),
            required=("situation", "options"),
        )
        self.digest = self._file.digest

    def fill(self, decision: Decision) -> str:
        """The prompt of one decision."""
        listed = "\n".join(f"{number}. {text}" for number, text in enumerate(decision.options, start=1))
        return self._file.fill(situation=decision.prompt, options=listed, count=str(len(decision.options)))
