"""Keys and values of prompts' beginnings, for prompts that begin alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pluralign.lm.sample_attention import KeysAndValues

BLOCK = 64
"""Number of tokens that are kept, found and removed together."""

LayerKeys = Mapping[int, KeysAndValues]
"""Keys and values of consecutive tokens by layer, each of shape (groups, tokens, width)."""


@dataclass(frozen=True)
class _Block:
    # The number of the block before it, or of the policy, and the block's own tokens.
    key: tuple[int, tuple[int, ...]]
    keys: LayerKeys


class PrefixCache:
    """Blocks of tokens, each after the blocks that begin its prompt; the least recently used are removed
    first.

    Args:
        tokens: Largest number of tokens that are kept, counted once for every policy that read them.
    """

    def __init__(self, tokens: int) -> None:
        self._most = tokens // BLOCK
        # From the least to the most recently used.
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._count = 0

    @property
    def tokens(self) -> int:
        """Number of tokens that are kept."""
        return BLOCK * len(self._blocks)

    def find(self, policy: int, ids: Sequence[int]) -> list[LayerKeys]:
        """Blocks with which a prompt begins, in order; its last token is never among them.

        Args:
            policy: Number of the policy that reads the prompt.
            ids: Token ids of the prompt.
        """
        numbers = self._path(policy, ids, (len(ids) - 1) // BLOCK)
        self._use(numbers)
        return [self._blocks[number].keys for number in numbers]

    def add(self, policy: int, ids: Sequence[int], keys: LayerKeys) -> None:
        """Keep the whole blocks of a prompt.

        Args:
            policy: Number of the policy that has read the prompt.
            ids: Token ids of the prompt.
            keys: Keys and values of all its tokens; they are copied.
        """
        count = min(len(ids) // BLOCK, self._most)
        numbers = self._path(policy, ids, count)
        for place in range(len(numbers), count):
            own = slice(place * BLOCK, (place + 1) * BLOCK)
            key = (numbers[-1] if numbers else -1 - policy, tuple(ids[own]))
            copied = {layer: (k[:, own].clone(), v[:, own].clone()) for layer, (k, v) in keys.items()}
            self._blocks[self._count] = _Block(key, copied)
            self._numbers[key] = self._count
            numbers.append(self._count)
            self._count += 1
        self._use(numbers)
        while len(self._blocks) > self._most:
            _, removed = self._blocks.popitem(last=False)
            del self._numbers[removed.key]

    def _path(self, policy: int, ids: Sequence[int], most: int) -> list[int]:
        """Numbers of the known blocks with which a prompt begins, at most this many."""
        numbers: list[int] = []
        before = -1 - policy
        for place in range(most):
            number = self._numbers.get((before, tuple(ids[place * BLOCK : (place + 1) * BLOCK])))
            if number is None:
                break
            numbers.append(number)
            before = number
        return numbers

    def _use(self, numbers: Sequence[int]) -> None:
        """Mark blocks as used, the first ones last, so that they outlive those that follow them."""
        for number in reversed(numbers):
            self._blocks.move_to_end(number)
