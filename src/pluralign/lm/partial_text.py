"""Text of a completion during generation, token by token."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from typing import Any

from transformers import PreTrainedTokenizerBase

_HALF = "\N{REPLACEMENT CHARACTER}"


class PartialText:
    """Converts tokens to text as they arrive; text that may still change is held back.

    Args:
        tokenizer: Tokenizer of the model that writes.
        stops: Texts that end the completion and are not part of it.
        lead: Text of a template before an answer, which is removed from the beginning of a completion.
        before: Last tokens of the text that the completion goes on with: some tokenizers omit the space
            before a first word, and the completion's first word is none then.
        control: Whether control tokens are text, which are left out otherwise.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str] = (), lead: str = "", *,
        before: Sequence[int] = (), control: bool = False,
    ) -> None:  # fmt: skip
        self.ids: list[int] = []
        """Token ids so far."""
        self._tokenizer, self._stops, self._lead = tokenizer, stops, lead
        self._before, self._control = list(before), control
        self._given = self._begins = 0
        # Number of characters before each token; the tokens of one character begin where it does.
        self._places: list[int] = []
        self._length = 0
        # Text of all tokens before `_read`, and the start of the tokens that the next ones are decoded with.
        self._text, self._context, self._read = "", 0, 0

    def copy(self) -> PartialText:
        """A copy, to be continued differently."""
        other = copy(self)
        other.ids, other._places = list(self.ids), list(self._places)
        return other

    def add(self, token: int, last: bool) -> tuple[str, bool]:
        """Append a token.

        Args:
            token: Id of the token.
            last: Whether no other token follows, so that nothing is held back.

        Returns:
            The newly certain text; and whether a stop text was reached.
        """
        self.ids.append(token)
        self._places.append(self._length)
        text = self.decoded()
        self._length = max(self._length, len(text.rstrip(_HALF)))
        if self._lead and text:
            self._given = self._begins = len(self._lead) if text.startswith(self._lead) else 0
            self._lead = ""
        # The lead is no part of the completion, so no stop text is looked for in it.
        found = min((i for stop in self._stops if (i := text.find(stop, self._begins)) >= 0), default=-1)
        if found >= 0:
            text = text[:found]
        end = len(text) if last or found >= 0 else _certain(text, self._stops)
        new = text[self._given : max(self._given, end)]
        self._given += len(new)
        return new, found >= 0

    @property
    def begun(self) -> int:
        """Number of tokens that begin within the text that has been returned."""
        return bisect_left(self._places, self._given)

    def decoded(self) -> str:
        """All text so far, from the last few tokens and the text decoded before."""
        known, whole = (
            self._decode(self._context, self._read),
            self._decode(self._context),
        )
        if not whole.startswith(known):
            # The tokenizer changes earlier text when tokens are added, so all tokens are decoded each time.
            self._text, self._context, self._read = "", 0, 0
            known, whole = "", self._decode(0)
        text = self._text + whole[len(known) :]
        # An incomplete character is not text yet.
        if not text.endswith(_HALF):
            # A special token has no text and gives no context: the space before a first word may be omitted.
            self._context = self._read if len(text) > len(self._text) else self._context
            self._text, self._read = text, len(self.ids)
        return text

    def _decode(self, first: int, end: int | None = None) -> str:
        """Text of the tokens from the first one to before the end."""
        ids = self.ids[first:end]
        if first or not self._before:
            return self._plain(ids)
        known, whole = self._plain(self._before), self._plain([*self._before, *ids])
        return whole[len(known) :] if whole.startswith(known) else self._plain(ids)

    def _plain(self, ids: list[int]) -> str:
        tokenizer: Any = self._tokenizer
        return str(tokenizer.decode(ids, skip_special_tokens=not self._control))


def _certain(text: str, stops: Sequence[str]) -> int:
    """Length of the text that cannot change: without an incomplete character or the beginning of a stop
    text."""
    end = len(text)
    while end and text[end - 1] == _HALF:
        end -= 1
    for stop in stops:
        for length in range(min(len(stop) - 1, end), 0, -1):
            if text.endswith(stop[:length], 0, end):
                end -= length
                break
    return end
