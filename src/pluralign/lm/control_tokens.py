"""Names of control tokens in texts, quoted where users or models wrote them.

A tokenizer reads the name of a control token (``<|im_start|>``) as that token, also in a text that a user
wrote. Texts of users and models have such names quoted (`core.messages.QUOTE` before each), and a quoted name
is cut into tokens as any other text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from pluralign.core.messages import QUOTE, unquoted
from pluralign.lm.first_space import without_first_space


class ControlTokens:
    """The control tokens of a tokenizer.

    Args:
        tokenizer: Tokenizer.
        markers: Added tokens that mark roles and turns, and that the tokenizer does not call special.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, markers: Iterable[str] = ()) -> None:
        self._tokenizer: Any = tokenizer
        added = {
            str(token.content) for token in self._tokenizer.added_tokens_decoder.values() if token.special
        }
        names = {*added, *map(str, self._tokenizer.all_special_tokens), *markers} - {""}
        # The longest first, as tokenizers match them.
        self._names = sorted(names, key=lambda name: (-len(name), name))
        pattern = "|".join(map(re.escape, self._names)) or "(?!)"
        self._name, self._start = re.compile(pattern), re.compile(f"(?={pattern})")

    def quote(self, text: str) -> str:
        """A text with each name of a control token quoted; what is quoted already stays as it is."""
        if not self._name.search(text):
            return text
        places = [m.start() for m in self._start.finditer(text) if text[m.start() - 1 : m.start()] != QUOTE]
        parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        return QUOTE.join(parts)

    def found_in(self, text: str) -> bool:
        """Whether a text has the name of a control token, or a quote of one."""
        return self._name.search(text) is not None or QUOTE in text

    def removed(self, text: str) -> str:
        """A text with other words in place of the names of control tokens."""
        return self._name.sub("zqx", text)

    def first(self, text: str) -> str:
        """A text up to its first control token; empty where it has none."""
        return next((text[: match.end()] for match in self._live(text)), "")

    def count(self, text: str) -> int:
        """Number of control tokens in a text; quoted names are none."""
        return sum(1 for _ in self._live(text))

    def ends(self, text: str) -> str:
        """The control token that a text ends with; empty where it ends with other text."""
        last = ""
        for match in self._live(text):
            last = match.group() if match.end() == len(text) else ""
        return last

    def name_of(self, token: int) -> str:
        """Name of an added token; empty for any other."""
        found = self._tokenizer.added_tokens_decoder.get(token)
        return "" if found is None else str(found.content)

    @cached_property
    def puts_space_first(self) -> bool:
        """Whether the tokenizer puts a space before a text's first word, as many of SentencePiece's kind."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return False
        # The vocabulary, which takes the time and the memory, is not read for this.
        parts = {name: getattr(backend, name) for name in ("normalizer", "pre_tokenizer")}
        steps = {name: part and json.loads(part.__getstate__()) for name, part in parts.items()}
        return without_first_space(steps) is not None

    def encode(
        self, text: str, *, goes_on: bool = False
    ) -> tuple[list[int], list[tuple[int, int]]]:  # fmt: skip
        """Token ids of a text with quoted names, and where each token stands in the unquoted text.

        Args:
            text: Text.
            goes_on: Whether other text is before it, so that no space is put before its first word.
        """
        if self._aliased is None:
            return self._encode_by_pieces(text)
        aliased: list[str] = []
        # For each character of the aliased text, and its end, the place in the unquoted text.
        places: list[int] = []
        start = 0
        for live, piece in self._pieces(text):
            written = self._alias(piece) if live else piece
            places += [start] * len(written) if live else range(start, start + len(piece))
            aliased.append(written)
            start += len(piece)
        places.append(start)
        found = self._aliased.encode("".join(aliased), add_special_tokens=False)
        read = list(zip(found.ids, found.offsets, strict=True))
        if goes_on and self.puts_space_first:
            first = self._going_on.encode("".join(aliased), add_special_tokens=False)
            # After an added token the tokenizer begins anew, whatever is before it.
            own = list(zip(first.ids, first.offsets, strict=True))
            read = own[: self._first_added(first.ids)] + read[self._first_added(found.ids) :]
        return [token for token, _ in read], [(places[a], places[b]) for _, (a, b) in read]

    def decode(self, ids: list[int]) -> str:
        """A text that is encoded to these ids again: control tokens by name, all other text quoted."""
        text, run = "", list[int]()
        known = {self._tokenizer.convert_tokens_to_ids(name): name for name in self._names}
        for token in [*ids, None]:
            if token is not None and token not in known:
                run.append(token)
                continue
            text += self.quote(str(self._tokenizer.decode(run))) if run else ""
            text, run = text + ("" if token is None else known[token]), []
        return text

    def _live(self, text: str) -> Iterator[re.Match[str]]:
        return (m for m in self._name.finditer(text) if text[m.start() - 1 : m.start()] != QUOTE)

    def _pieces(self, text: str) -> Iterator[tuple[bool, str]]:
        """(whether it is a control token, text), in order; without the quotes."""
        end = 0
        for match in self._live(text):
            if match.start() > end:
                yield False, unquoted(text[end : match.start()])
            yield True, match.group()
            end = match.end()
        if end < len(text):
            yield False, unquoted(text[end:])

    def _alias(self, name: str) -> str:
        """Name of a control token in the aliased tokenizer: a text that does not occur."""
        return f"{QUOTE}\u2388{self._tokenizer.convert_tokens_to_ids(name)}\u2388"

    def _first_added(self, ids: Sequence[int]) -> int:
        added = self._tokenizer.added_tokens_decoder
        return next((place for place, token in enumerate(ids) if token in added), len(ids))

    @cached_property
    def _aliased(self) -> Any:
        """The tokenizer with other names for its control tokens, so that their own names are plain text; None
        for tokenizers in Python."""
        from tokenizers import Tokenizer

        state = self._state()
        return None if state is None else Tokenizer.from_str(json.dumps(state))

    @cached_property
    def _going_on(self) -> Any:
        """The same without the space before a first word; None for tokenizers that put none there."""
        from tokenizers import Tokenizer

        state = self._state()
        changed = None if state is None else without_first_space(state)
        return None if changed is None else Tokenizer.from_str(json.dumps(changed))

    def _state(self) -> dict[str, Any] | None:
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        state = json.loads(backend.to_str())
        names = {name: self._alias(name) for name in self._names}
        for token in state["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        model = state["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            ids = cast("dict[str, int]", vocabulary).items()
            model["vocab"] = {names.get(token, token): i for token, i in ids}
        else:
            model["vocab"] = [[names.get(token, token), score] for token, score in vocabulary]
        if model.get("unk_token"):
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        return state | {"truncation": None, "padding": None, "post_processor": None}

    def _encode_by_pieces(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        start = 0
        for live, piece in self._pieces(text):
            own = (
                [self._tokenizer.convert_tokens_to_ids(piece)]
                if live
                else self._tokenizer(piece, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            )
            ids += own
            # Tokenizers in Python do not say where their tokens stand.
            places += [(start, start + len(piece))] * len(own)
            start += len(piece)
        return ids, places
