"""Prompts as text files that users can replace."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from pluralign.core import InputError


class PromptFile:
    """A text with ``$placeholders``; ``$$`` is a dollar sign.

    Braces and everything else in the text, and whatever is filled in, are left as they are.

    Args:
        path: File of the user; None takes the packaged one.
        package: Package that holds the packaged file.
        name: Path of the packaged file in the package.
        placeholders: Names of the placeholders that may occur.
        required: Names of the placeholders that must occur.

    Raises:
        InputError: The file cannot be read, has an unknown placeholder, or lacks a needed one.
    """

    def __init__(
        self,
        path: str | Path | None,
        *,
        package: str,
        name: str,
        placeholders: Sequence[str],
        required: Sequence[str],
    ) -> None:
        if path is None:
            text = resources.files(package).joinpath(name).read_text("utf-8")
        else:
            try:
                text = Path(path).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot be read: {error}", path=path) from error
        self._template = Template(text)
        _check(self._template, path, placeholders, required)
        self.digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        """Digest of the text, 16 hexadecimal digits."""

    def fill(self, **values: str) -> str:
        """The text with its placeholders filled in."""
        return self._template.substitute(values).strip()


def _check(
    template: Template, path: str | Path | None, placeholders: Sequence[str], required: Sequence[str]
) -> None:
    wanted = ", ".join(f"${name}" for name in placeholders)
    if not template.is_valid():
        raise InputError(f"has a lone '$': write $$ for a dollar sign; placeholders are {wanted}", path=path)
    found = set(template.get_identifiers())
    for name in sorted(found - set(placeholders)):
        raise InputError(f"has the unknown placeholder ${name}; there are {wanted}", path=path)
    for name in required:
        if name not in found:
            raise InputError(f"lacks the placeholder ${name}", path=path)
