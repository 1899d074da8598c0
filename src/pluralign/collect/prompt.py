"""The prompt that a language model chooses by: a text file that users can replace."""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path
from string import Template

from pluralign.core import Decision, InputError

PLACEHOLDERS = ("situation", "options", "count")
REQUIRED = ("situation", "options")


class ChoosePrompt:
    """``$situation``, ``$options`` (a numbered list) and ``$count`` in a text; ``$$`` is a dollar sign.

    Braces and anything else in the text, and all of what is put in, stand as they are.

    Args:
        path: the user's file; None takes the one that comes with pluralign.

    Raises:
        InputError: the file cannot be read, has an unknown placeholder, or lacks a needed one.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        if path is None:
            text = resources.files("pluralign.collect").joinpath("prompts/choose.txt").read_text("utf-8")
        else:
            try:
                text = Path(path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot be read: {error}", path=path) from error
        self._template = Template(text)
        _check(self._template, path)
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        """Of the text: 16 hexadecimal digits."""

    def fill(self, decision: Decision) -> str:
        """The prompt for one decision."""
        listed = "\n".join(f"{number}. {text}" for number, text in enumerate(decision.options, start=1))
        return self._template.substitute(
            situation=decision.prompt, options=listed, count=str(len(decision.options))
        ).strip()


def _check(template: Template, path: str | Path | None) -> None:
    wanted = ", ".join(f"${name}" for name in PLACEHOLDERS)
    if not template.is_valid():
        raise InputError(f"has a lone '$': write $$ for a dollar sign; placeholders are {wanted}", path=path)
    found = set(template.get_identifiers())
    for name in sorted(found - set(PLACEHOLDERS)):
        raise InputError(f"has the unknown placeholder ${name}; there are {wanted}", path=path)
    for name in REQUIRED:
        if name not in found:
            raise InputError(f"lacks the placeholder ${name}", path=path)
