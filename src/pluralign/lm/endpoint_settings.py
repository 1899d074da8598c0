"""Settings of requests to endpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pluralign.core import InputError


@dataclass(frozen=True)
class EndpointSettings:
    """Requests to an endpoint.

    Args:
        urls: Base URLs of servers of the same model, used in turn; by default those in OPENAI_BASE_URL,
            separated by commas, or OpenAI's own.
        concurrency: Maximum number of concurrent requests to an endpoint.
        timeout: Seconds after which a request to an endpoint is tried again.
        retries: Number of tries of a request to an endpoint after the first.

    Raises:
        InputError: A number is out of range.
    """

    urls: tuple[str, ...] = ()
    concurrency: int = 8
    timeout: float = 300.0
    retries: int = 5

    def __post_init__(self) -> None:
        for name, smallest in (("concurrency", 1), ("retries", 0)):
            if not getattr(self, name) >= smallest:
                raise InputError(f"must be {smallest} or more, found {getattr(self, name)}", field=name)
        if not self.timeout > 0:
            raise InputError(f"must be positive, found {self.timeout}", field="timeout")


def base_urls(urls: Sequence[str], default: str) -> list[str]:
    """The given base URLs; without any those in OPENAI_BASE_URL, or the default."""
    given = urls or [url.strip() for url in os.environ.get("OPENAI_BASE_URL", "").split(",")]
    return [url for url in given if url] or [default]


def usable_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        InputError: It is not an HTTP URL.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in ("http", "https") or not separator or not rest.strip("/"):
        raise InputError("cannot be used as an endpoint: expected http://HOST or https://HOST", path=url)
    return url.rstrip("/")
