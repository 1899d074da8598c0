"""Conversations, and their plain form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Messages = Sequence[Mapping[str, str]]
"""``{"role", "content"}`` each."""

Render = Callable[[Messages, bool], str]
"""Messages to text; True opens the assistant's turn at the end."""

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def dialogue(messages: Messages, opens: bool) -> str:
    r"""HH-RLHF's plain form: ``\n\nHuman: ...\n\nAssistant: ...``."""
    told = "".join(f"\n\n{_SPEAKERS.get(m['role'], m['role'].title())}: {m['content']}" for m in messages)
    return told + "\n\nAssistant:" if opens else told
