"""Conversations, and templates that render them to text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Messages = Sequence[Mapping[str, str]]
"""List of messages, ``{"role", "content"}`` each."""

Render = Callable[[Messages, bool], str]
"""Function from messages to text; the argument True starts the assistant's turn at the end."""

_SPEAKERS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def dialogue(messages: Messages, opens: bool) -> str:
    r"""HH-RLHF's plain format: ``\n\nHuman: ...\n\nAssistant: ...``."""
    turns = "".join(f"\n\n{_SPEAKERS.get(m['role'], m['role'].title())}: {m['content']}" for m in messages)
    return turns + "\n\nAssistant:" if opens else turns


@dataclass(frozen=True)
class Template:
    """A `Render` with an identity, so that data and models can check that they use the same one.

    Args:
        name: ``dialogue`` (HH-RLHF's plain format), ``chat`` (a tokenizer's chat template) or ``custom`` (a
            user's own function).
            function of the user's own).
        digest: Digest of the chat template; empty for the others.
        render: Function from messages to text.
    """

    name: str
    digest: str = ""
    render: Render = field(default=dialogue, compare=False, repr=False)

    def __call__(self, messages: Messages, opens: bool) -> str:
        """See `Render`."""
        return self.render(messages, opens)


DIALOGUE = Template("dialogue")


def as_template(render: Render) -> Template:
    """A template unchanged, and any other function as a custom template."""
    if isinstance(render, Template):
        return render
    return DIALOGUE if render is dialogue else Template("custom", render=render)
