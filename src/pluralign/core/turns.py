"""Prompt and completion of a conversation as texts."""

from __future__ import annotations

from pluralign.core.errors import InputError
from pluralign.core.messages import Message, Messages, Template, extended, unquoted

# A character that no template or text contains; templates that trim contents keep it.
_MARK = "\N{HELM SYMBOL}answer\N{HELM SYMBOL}"


def completion_texts(
    template: Template, prompt: str | Messages, completion: str | Messages
) -> tuple[str, str]:
    """Render a prompt and its completion to the texts that a model reads.

    A text prompt is unchanged. Messages end with the template's generation prompt. The completion is
    everything that the template writes after it: all messages of the completion (including results of tools
    and later turns of the user), without text that the generation prompt already contains, such as an open
    thinking block, and with the end of the turn.

    Args:
        template: Template of messages.
        prompt: A text or messages.
        completion: A text, which is the content of the assistant's message, or messages that begin with the
            assistant's.

    Raises:
        InputError: The template refuses the messages, or its text of the whole conversation does not continue
            its generation prompt.
    """
    if isinstance(prompt, str):
        return template.quote_prompt(prompt), template.quote_completion(_only_text(completion))
    before = template(prompt, True)
    return before, continuation(template, prompt, before, completion)


def continuation(template: Template, prompt: Messages, before: str, completion: str | Messages) -> str:
    """The completion of `completion_texts` for a prompt whose text is known.

    Args:
        template: Template of messages.
        prompt: Messages.
        before: Text of the prompt, with the generation prompt.
        completion: See `completion_texts`.

    Raises:
        InputError: See `completion_texts`.
    """
    if isinstance(completion, str) and template.name != "custom":
        return template.answer(completion)
    if isinstance(completion, str):
        # The text that a user's own function writes around an answer is not known in advance.
        completion = [{"role": "assistant", "content": completion}]
    whole = template(extended(prompt, completion), False)
    answer = completion[0].get("content") or ""
    if whole.startswith(before):
        after = whole[len(before) :]
        if len(completion) > 1 or answer.strip() in unquoted(after):
            return after
    after = _continued(template, prompt, completion, before, whole)
    if after is None and whole.startswith(before):
        after = whole[len(before) :]
    if after is None:
        raise InputError("the chat template does not continue the prompt's text")
    return after


def _only_text(completion: str | Messages) -> str:
    if isinstance(completion, str):
        return completion
    if len(completion) != 1 or not isinstance(completion[0].get("content"), str):
        raise InputError("expected one message with a content after a prompt that is a text")
    return completion[0]["content"]


def _continued(
    template: Template, prompt: Messages, completion: Messages, before: str, whole: str
) -> str | None:
    """The completion if the whole conversation does not begin with the generation prompt, or if its template
    omits part of the answer; None if this is how the template writes it."""
    first = completion[0]
    answer = first.get("content") or ""
    plain: Message = {"role": "assistant", "content": _MARK}
    marked = template(extended(prompt, [plain]), False)
    head, found, _ = marked.partition(_MARK)
    if not found:
        return None
    # The turn begins where the generation prompt and the conversation diverge.
    turn = _common(before, head)
    opened = before[len(turn) :].strip()
    for start in (head, turn):
        if whole.startswith(start) and answer.strip() in unquoted(whole[len(start) :]):
            return _after_opening(whole[len(start) :], opened)
    if not whole.startswith(turn):
        return None
    return _with_all_text(template, prompt, completion, whole, turn, opened)


def _common(one: str, other: str) -> str:
    """Common beginning of two texts."""
    shortest = min(len(one), len(other))
    return one[: next((i for i in range(shortest) if one[i] != other[i]), shortest)]


def _after_opening(written: str, opened: str) -> str:
    """Content of an assistant's turn after the thinking block that the generation prompt opened."""
    if opened and written.lstrip().startswith(opened):
        return written.lstrip().removeprefix(opened).lstrip("\n")
    return written


def _with_all_text(
    template: Template, prompt: Messages, completion: Messages, whole: str, turn: str, opened: str
) -> str | None:
    """The complete answer if the template omits its beginning, as some do with reasoning."""
    first, *rest = completion
    answer = str(first.get("content")).strip()
    marked = template(extended(prompt, [{**first, "content": _MARK}, *rest]), False)
    _, found, tail = marked.partition(_MARK)
    if not found or not whole.endswith(tail):
        return None
    shown = unquoted(whole[len(turn) : len(whole) - len(tail)]).strip()
    if not shown or not answer.endswith(shown):
        return None
    if opened and answer.startswith(opened):
        answer = answer.removeprefix(opened).lstrip("\n")
    return template.quote_completion(answer) + tail
