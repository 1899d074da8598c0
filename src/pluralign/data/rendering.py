"""Messages of rows as the texts that a model reads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from pluralign.core import InputError
from pluralign.core.messages import Messages, Render, Template, as_template, beginning, says_nothing
from pluralign.core.turns import completion_texts, continuation
from pluralign.data.columns import Content, FieldError
from pluralign.data.text_pairs import TextPair


def as_texts(
    prompt: Content, completion: Content, render: Render, field: str = "completion"
) -> tuple[str, str]:
    """Prompt and completion as the texts that a model reads; see `core.turns.completion_texts`.

    Raises:
        FieldError: The template refuses the messages, or does not continue the prompt's text.
    """
    with placed(field):
        return completion_texts(as_template(render), prompt, completion)


@contextmanager
def placed(field: str) -> Generator[None]:
    """Add the name of a column to what a template refuses."""
    try:
        yield
    except InputError as error:
        raise FieldError(error.field or field, error.message) from error


def quoted(pair: TextPair, template: Template) -> TextPair:
    """A pair of users' texts, in which names of control tokens are ordinary text (see `Template`)."""
    other = pair.rejected_prompt
    return replace(
        pair,
        prompt=template.quote_prompt(pair.prompt),
        chosen=template.quote_completion(pair.chosen),
        rejected=template.quote_completion(pair.rejected),
        rejected_prompt=None if other is None else template.quote_prompt(other),
    )


def split_messages(
    chosen: Messages, rejected: Messages, shared: int | None, template: Template
) -> TextPair | None:
    """A pair of conversations as texts; None if the assistant does not answer one prompt in both.

    Args:
        chosen: The better conversation.
        rejected: The worse conversation.
        shared: Number of messages of the prompt; None: all that both begin with.
        template: Template of messages.

    Raises:
        FieldError: The template refuses the messages.
    """
    if shared is None:
        shortest = min(len(chosen), len(rejected))
        shared = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
        if chosen == rejected:
            shared -= 1
    if any(len(m) <= shared or m[shared]["role"] != "assistant" for m in (chosen, rejected)):
        return None
    asked = beginning(chosen, shared)
    field = "chosen"
    try:
        prompt = template(asked, True)
        first = _answered(template, asked, prompt, chosen[shared:])
        field = "rejected"
        second = _answered(template, asked, prompt, rejected[shared:])
    except InputError as error:
        raise FieldError(error.field or field, error.message) from error
    return TextPair(prompt, first, second, asked=asked, answered=chosen[shared:])


def last_answers(chosen: Messages, rejected: Messages, template: Template) -> TextPair | None:
    """The last messages of two conversations as answers to two prompts; None if they are no answers.

    Raises:
        FieldError: The template refuses the messages.
    """
    if any(m[-1]["role"] != "assistant" or len(m) < 2 for m in (chosen, rejected)):
        return None
    first, second = (
        as_texts(beginning(m, -1), m[-1:], template, name)
        for name, m in (("chosen", chosen), ("rejected", rejected))
    )
    texts = ["" if says_nothing(m[-1:]) else text for m, (_, text) in ((chosen, first), (rejected, second))]
    return TextPair(first[0], texts[0], texts[1], rejected_prompt=second[0])


def _answered(template: Template, asked: Messages, prompt: str, answer: Messages) -> str:
    """What follows the prompt; empty for an answer without text, whose turn a template ends as any other."""
    return "" if says_nothing(answer) else continuation(template, asked, prompt, answer)
