"""Who may send requests: tokens, Host headers, and origins of web pages."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from pluralign.core import InputError
from pluralign.serve.settings import Access, NamedToken

TOKEN = "PLURALIGN_TOKEN"
"""Environment variable with the bearer token."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this host is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def accepted_hosts(host: str, more: Sequence[str] = ()) -> tuple[str, ...] | None:
    """The Host headers that a server accepts (`Access.hosts`); None accepts all.

    Args:
        host: Host that the server listens on.
        more: Further names to accept. Without any, only servers on the loopback interface check the header.
    """
    if not more and not is_loopback(host):
        return None
    return tuple(dict.fromkeys((*_LOOPBACK, host.lower(), *(name.lower() for name in more))))


def describe_access(access: Access, host: str) -> list[str]:
    """Sentences about who can reach a server that listens on this host, if more than this machine can."""
    sentences: list[str] = []
    if access.token is None and not access.named and not is_loopback(host):
        sentences.append(
            "no token is set: anyone who can reach this address can use it (PLURALIGN_TOKEN sets one)"
        )
    if access.hosts is None:
        sentences.append(
            "every Host header is accepted, so web pages can reach this server under names of their own "
            "(DNS rebinding): --allow-hosts sets the accepted ones"
        )
    return sentences


def read_token(file: Path | None = None) -> str | None:
    """Read the bearer token from a file, or else from PLURALIGN_TOKEN; None if there is none.

    A command-line option would be visible to other users of the machine.

    Raises:
        InputError: The file cannot be read, or the token is empty, not ASCII, or contains spaces.
    """
    if file is None:
        token = os.environ.get(TOKEN)
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise InputError(f"cannot be read: {error}", path=file) from error
    if token is not None and not _is_token(token):
        where = TOKEN if file is None else str(file)
        raise InputError(f"the token in {where} must be ASCII, without spaces and not empty")
    return token


def read_named_tokens(file: Path | None) -> tuple[NamedToken, ...]:
    """Read bearer tokens with names: lines ``NAME=TOKEN`` or ``NAME=TOKEN NUMBER``, and comments after ``#``.

    The number limits the requests of the token that are in progress at once.

    Raises:
        InputError: The file cannot be read, has no token, or a line is none of these, or a name or a token
            occurs twice.
    """
    if file is None:
        return ()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise InputError(f"cannot be read: {error}", path=file) from error
    found: list[NamedToken] = []
    for row, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition("=")
        token, *most = rest.split()[:3] or [""]
        running = int(most[0]) if most and most[0].isascii() and most[0].isdigit() else None
        wrong = len(rest.split()) > 2 or (most and not running) or not name.strip().isprintable()
        if wrong or not name.strip() or not _is_token(token):
            # The line itself would show the token.
            raise InputError("expected NAME=TOKEN or NAME=TOKEN NUMBER", path=file, row=row)
        if any(name.strip() == one.name or token == one.token for one in found):
            raise InputError("the name or the token occurs twice", path=file, row=row)
        found.append(NamedToken(name.strip(), token, running))
    if not found:
        raise InputError("has no tokens", path=file)
    return tuple(found)


def read_origins(origins: Sequence[str]) -> tuple[str, ...]:
    """Check origins of web pages, such as ``https://example.org``.

    Raises:
        InputError: A value is no origin.
    """
    for origin in origins:
        if not re.fullmatch(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", origin):
            raise InputError(
                f"must be origins such as https://example.org, found {origin[:80]!r}", field="allow_origins"
            )
    return tuple(origins)


def _is_token(token: str) -> bool:
    return bool(token) and token.isascii() and token.isprintable() and " " not in token
