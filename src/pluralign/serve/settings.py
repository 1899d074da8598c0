"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass

from pluralign.core import InputError


@dataclass(frozen=True)
class Limits:
    """How much a request, and all of them together, may take.

    Args:
        body_bytes: of a request's body.
        prompt_tokens: of one prompt.
        new_tokens: of one answer.
        default_new_tokens: of an answer whose request does not say.
        samples: answers of one request (its prompts times ``n``).
        running: answers that are written at once.
        queue: answers that may wait.
        seconds: from a request's arrival to the end of its answer.
        reading_seconds: in which its body must arrive.
        connections: open at once.
    """

    body_bytes: int = 1 << 20
    prompt_tokens: int = 4096
    new_tokens: int = 1024
    default_new_tokens: int = 256
    samples: int = 8
    running: int = 16
    queue: int = 64
    seconds: float = 300.0
    reading_seconds: float = 20.0
    connections: int = 512

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < float("inf") and not (name == "queue" and value == 0):
                raise InputError(f"must be above 0, found {value}", field=name)


@dataclass(frozen=True)
class Access:
    """Who is let in.

    Args:
        token: a bearer token that requests must bring; None asks for none. The page, `/health` and
            `/openapi.json` are open.
        hosts: names in the Host header that are answered; None answers all. A server on the loopback
            interface answers to the loopback's names alone, so that no web page can reach it under a name
            of its own.
    """

    token: str | None = None
    hosts: tuple[str, ...] | None = None
