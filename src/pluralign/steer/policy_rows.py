"""What a decoder needs of policies: rows of tokens, each continued by one of several policies."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pluralign.lm.backbone import Backbone
from pluralign.lm.prefix_cache import LayerKeys
from pluralign.steer.prediction import Entry, Prediction, StatePrediction

R = TypeVar("R")
Size = Callable[[], int]
"""Function that returns the number of tokens of the next part, counted once for every policy."""
Reading = Generator[int, None, Callable[[], Prediction]]
"""Prompts that are read in parts; see `PolicyRows.read`."""


@dataclass(frozen=True, eq=False)
class HeldRow:
    """A row that was taken out of the decoder, to be continued later.

    Args:
        policy: Number of the policy.
        ids: Token ids of the row, if its keys may have to be computed again; empty otherwise.
        length: Number of tokens of the keys.
        keys: Keys and values by layer; empty for a row that is read again.
    """

    policy: int
    ids: Sequence[int]
    length: int
    keys: LayerKeys


class PolicyRows(Protocol):
    """Rows that are decoded together, one per request and weighted policy."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the policies."""
        ...

    @property
    def backbone(self) -> Backbone:
        """Model with the tokenizer, device and vocabulary that the policies share."""
        ...

    @property
    def context(self) -> int | None:
        """Largest number of tokens of a row; None for no limit."""
        ...

    @property
    def order(self) -> Sequence[Entry]:
        """Current rows, in the order of the logits."""
        ...

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Prediction:
        """Read prompts (request, policy, token ids) as new rows; return their next-token predictions."""
        ...

    def read(self, entries: Sequence[tuple[int, int, Sequence[int]]], size: Size) -> Reading:
        """Read prompts in parts, between which other rows may be stepped, added and removed.

        Args:
            entries: See `admit`.
            size: Function that is called before each part.

        Returns:
            Generator that reads a part at a time, and yields the number of its tokens (0 if it is not known)
            after all but the last one. Its value is a function that adds the rows and returns their
            next-token predictions, as `admit` does.
        """
        ...

    def cache_prefixes(self, tokens: int) -> None:
        """Keep what policies read of prompts, for prompts that begin alike.

        Args:
            tokens: Largest number of tokens that are kept, counted once for every policy (`PrefixCache`); 0
                keeps none.
        """
        ...

    def predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        """Predictions of one policy after each token of a text, some tokens at a time; no row is added.

        Args:
            policy: Number of the policy.
            ids: Token ids of the text.
            size: Function that is called before each part.

        Raises:
            InputError: The policies cannot do that; raised before anything is read.
        """
        ...

    def step(self, tokens: Mapping[int, int]) -> Prediction:
        """Append each request's next token to its rows; return the next predictions, in `order`."""
        ...

    def release(self, requests: set[int]) -> None:
        """Remove the rows of these requests."""
        ...

    def hold(self, request: int) -> Sequence[HeldRow]:
        """Remove the rows of a request; copies of them, to be continued by `resume`.

        Raises:
            InputError: The policies cannot do that; nothing is removed then.
        """
        ...

    def resume(self, held: Sequence[HeldRow], requests: Sequence[int]) -> None:
        """Add the rows that were held, once for each of some new requests; `step` continues them."""
        ...


def finished(parts: Generator[int, None, R]) -> R:
    """Read all parts; the value of the generator."""
    while True:
        try:
            next(parts)
        except StopIteration as stop:
            return stop.value
