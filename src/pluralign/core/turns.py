"""Where a conversation's prompt ends and its completion begins, as texts."""

from __future__ import annotations

from pluralign.core.errors import InputError
from pluralign.core.messages import Message, Messages, Template, extended, unquoted

# No template and no text has it; templates that trim contents leave it whole.
_MARK = "\N{HELM SYMBOL}answer\N{HELM SYMBOL}"


def completion_texts(
    template: Template, prompt: str | Messages, completion: str | Messages
) -> tuple[str, str]:
    """A prompt and its completion as the texts that a model reads.

    A prompt that is a text stands as it is. Messages end with the template's generation prompt. The
    completion is what the template writes from there on: all of its messages (also the results of tools and
    later turns of the user), without what the generation prompt has written already, such as an open
    thinking block, and with the end of the turn.

    Args:
        template: Template of messages.
        prompt: A text or messages.
        completion: A text, which is the content of the assistant's message, or messages, the first of them
            the assistant's.

    Raises:
        InputError: The template refuses the messages, or its text of the whole conversation does not
            continue its generation prompt.
    """
    if isinstance(prompt, str):
        return template.quote_prompt(prompt), template.quote_completion(_only_text(completion))
    before = template(prompt, True)
    return before, continuation(template, prompt, before, completion)


def continuation(template: Template, prompt: Messages, before: str, completion: str | Messages) -> str:
    """A completion as `completion_texts` gives it, where the prompt's text is known.

    Args:
        template: Template of messages.
        prompt: Messages.
        before: Their text, with the generation prompt.
        completion: See `completion_texts`.

    Raises:
        InputError: See `completion_texts`.
    """
    if isinstance(completion, str) and template.name != "custom":
        return template.answer(completion)
    if isinstance(completion, str):
        # What a function of the user's own writes around an answer is not known before.
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
    """The completion where the whole conversation does not begin with the generation prompt, or where its
    template leaves out some of the answer; None where that is the template's way of writing it."""
    first = completion[0]
    answer = first.get("content") or ""
    plain: Message = {"role": "assistant", "content": _MARK}
    marked = template(extended(prompt, [plain]), False)
    head, found, _ = marked.partition(_MARK)
    if not found:
        return None
    # The turn begins where the generation prompt and the conversation part.
    turn = _common(before, head)
    opened = before[len(turn) :].strip()
    for start in (head, turn):
        if whole.startswith(start) and answer.strip() in unquoted(whole[len(start) :]):
            return _after_opening(whole[len(start) :], opened)
    if not whole.startswith(turn):
        return None
    return _with_all_text(template, prompt, completion, whole, turn, opened)


def _common(one: str, other: str) -> str:
    """What two texts begin with alike."""
    shortest = min(len(one), len(other))
    return one[: next((i for i in range(shortest) if one[i] != other[i]), shortest)]


def _after_opening(written: str, opened: str) -> str:
    """What an assistant's turn has after the thinking block that the generation prompt opened."""
    if opened and written.lstrip().startswith(opened):
        return written.lstrip().removeprefix(opened).lstrip("\n")
    return written


def _with_all_text(
    template: Template, prompt: Messages, completion: Messages, whole: str, turn: str, opened: str
) -> str | None:
    """The whole answer where the template leaves out its beginning, as some do with reasoning."""
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
