"""Limits and access rules of a server."""

from __future__ import annotations

from dataclasses import dataclass

from pluralign.core import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of a request, and of all requests together.

    Args:
        body_bytes: Maximum size of a request's body, in bytes.
        prompt_tokens: Maximum length of a prompt, in tokens.
        new_tokens: Maximum length of an answer, in tokens.
        default_new_tokens: Length limit of answers to requests without ``max_tokens``.
        samples: Maximum number of answers to one request (its prompts times ``n``); see `answers`.
        prefill: Maximum number of prompt tokens that are read between two tokens of the running answers,
            counted once for every policy that reads them. Parts are smaller where they would take longer than
            some tokens of the running answers.
        cached_tokens: Number of tokens of prompts that are kept for prompts that begin alike (system prompts,
            turns of one conversation), counted once for every policy; 0 keeps none.
        running: Maximum number of answers that are decoded at once.
        queue: Maximum number of answers in the queue.
        seconds: Time limit from a request's arrival to the end of its answer.
        reading_seconds: Time limit for the arrival of a request's body.
        idle_seconds: Time limit until the headers of a connection's next request are complete.
        connections: Maximum number of open connections, and of requests in progress. A new connection closes
            the one that has waited longest for its client, if there is one.
        connections_per_address: Maximum number of open connections from one address, likewise.
    """

    body_bytes: int = 1 << 20
    prompt_tokens: int = 4096
    new_tokens: int = 1024
    default_new_tokens: int = 256
    samples: int = 64
    prefill: int = 1024
    cached_tokens: int = 16_384
    running: int = 16
    queue: int = 128
    seconds: float = 300.0
    reading_seconds: float = 20.0
    idle_seconds: float = 10.0
    connections: int = 512
    connections_per_address: int = 256

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float("inf") and not (name in ("queue", "cached_tokens") and value == 0):
                raise InputError(f"must be above 0, found {value}", field=name)

    @property
    def answers(self) -> int:
        """Largest number of answers to one request: as many as can run and wait at once."""
        return min(self.samples, self.running + self.queue)


@dataclass(frozen=True)
class NamedToken:
    """A bearer token with a name, which the audit file contains.

    Args:
        name: Name of the token.
        token: The token.
        running: Maximum number of its requests that are in progress at once; None for no limit of its own.
    """

    name: str
    token: str
    running: int | None = None


@dataclass(frozen=True)
class Access:
    """Rules for who may send requests.

    Args:
        token: Bearer token that requests must contain; None requires none. The page, `/health` and
            `/openapi.json` never require it.
        hosts: Accepted values of the Host header, without port; None accepts all. A server on the loopback
            interface accepts only loopback names, which prevents DNS rebinding by web pages.
        named: Further bearer tokens, with names and limits of their own.
        origins: Origins of web pages that may read answers (CORS).
    """

    token: str | None = None
    hosts: tuple[str, ...] | None = None
    named: tuple[NamedToken, ...] = ()
    origins: tuple[str, ...] = ()
