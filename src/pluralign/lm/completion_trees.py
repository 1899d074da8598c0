"""Prompts with completions as trees of tokens, and what is cut where they are too long."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pluralign.core import InputError
from pluralign.lm.bos import bos_ids
from pluralign.lm.forest import Tree
from pluralign.lm.positions import LengthFactors
from pluralign.lm.prompts import (
    completion_ids,
    encode_with_places,
    prompt_ids,
    quoted_completion,
    quoted_prompt,
)
from pluralign.lm.support import support_of
from pluralign.lm.trunk import context_length


@dataclass(frozen=True)
class CompletionTrees:
    """One prompt's completions as trees: one tree where all fit the limit, else one for each completion.

    Args:
        trees: Trees of tokens.
        places: (tree, branch) of each completion.
    """

    trees: tuple[Tree, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def tokens(self) -> int:
        """Tokens of all trees."""
        return sum(len(tree.prompt_ids) + sum(map(len, tree.branches)) for tree in self.trees)

    @property
    def paths(self) -> list[tuple[int, ...]]:
        """Token ids of each completion after its prompt."""
        return [(*self.trees[t].prompt_ids, *self.trees[t].branches[b]) for t, b in self.places]


class CompletionReader:
    """Makes trees of texts, and counts what it cuts.

    A completion ends with the end-of-text token. Where prompt + completion exceed the limit, the **end** of
    the prompt is kept; a completion that fills the limit by itself is cut at its end. What is cut depends on
    this prompt and this completion alone, never on the others.

    Args:
        tokenizer: Tokenizer of the model.
        max_length: Largest number of tokens of prompt and completion.
        closes_prompt: Prompts end with the end-of-text token and completions begin with the BOS (where the
            tokenizer has one), as encoder-decoders are trained.
        factors: How the model's position factors depend on the length of a path: completions share their
            prompt where their paths have the same factors.
        quotes: Whether to quote the names of control tokens in the texts (`lm.prompts.quoted_prompt`); False
            for texts in which those that users wrote are quoted already.
        positions: Largest number of tokens of a prompt, and of a completion, where each has positions of its
            own, as in encoder-decoders; None for no limit.

    Raises:
        InputError: The tokenizer has no end-of-text token, or the limit leaves no room.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, max_length: int, *, closes_prompt: bool = False,
        factors: LengthFactors | None = None, quotes: bool = False, positions: int | None = None,
    ) -> None:  # fmt: skip
        self._tokenizer, self._factors, self._quotes = tokenizer, factors, quotes
        self._positions = sys.maxsize if positions is None else positions
        self._eos: int = tokenizer.eos_token_id  # pyright: ignore[reportAttributeAccessIssue]
        if not isinstance(tokenizer.eos_token_id, int):
            raise InputError("the tokenizer has no end-of-text token, which every completion ends with")
        self._prefix = bos_ids(tokenizer)
        self._suffix = [self._eos] if closes_prompt else []
        self.leading = len(self._prefix) if closes_prompt else 0
        """Number of tokens before the text of a completion."""
        self.max_length = max_length
        if max_length < len(self._prefix) + len(self._suffix) + 2:
            raise InputError(
                f"leaves no room for a prompt and a completion: {max_length}", field="max_length"
            )
        self.counts: Counter[str] = Counter(completions=0, cut_prompts=0, cut_completions=0, cut_tokens=0)
        """Completions read; cut prompts, each once for each of its completions; cut completions; tokens cut.
        Where there are any, ``identical_completions``: equal to another of their prompt, but not in text."""

    @classmethod
    def for_model(
        cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int, *,
        quotes: bool = False,
    ) -> CompletionReader:  # fmt: skip
        """The reader that a model needs: its ``max_length`` is no more than the model's context."""
        limit = context_length(model)
        if model.config.is_encoder_decoder:
            return cls(tokenizer, max_length, closes_prompt=True, quotes=quotes, positions=limit)
        longest = max_length if limit is None else min(max_length, limit)
        return cls(tokenizer, longest, factors=support_of(model).factors, quotes=quotes)

    def read(self, prompt: str, completions: Sequence[str]) -> CompletionTrees:
        """Trees of one prompt with its completions; an empty one is the end-of-text token alone."""
        if self._quotes:
            prompt = quoted_prompt(self._tokenizer, prompt)
            completions = [quoted_completion(self._tokenizer, text) for text in completions]
        whole = prompt_ids(self._tokenizer, prompt)
        branches = [self._branch(completion, whole.ids) for completion in completions]
        self.counts["completions"] += len(branches)
        rooms = [min(self._positions, self.max_length - len(b)) - len(self._suffix) for b in branches]
        kept = [whole.truncated(room) for room in rooms]
        for one in kept:
            self.counts["cut_prompts"] += len(one.ids) < len(whole.ids)
            self.counts["cut_tokens"] += len(whole.ids) - len(one.ids)
        read = {(len(one.ids), tuple(branch)) for one, branch in zip(kept, branches, strict=True)}
        if identical := len(set(completions)) - len(read):
            self.counts["identical_completions"] += identical
        paths = [len(whole.ids) + len(branch) for branch in branches]
        alike = self._factors is None or all(self._factors.same(paths[0], path) for path in paths)
        if alike and all(one == whole for one in kept):
            places = tuple((0, i) for i in range(len(branches)))
            return CompletionTrees((Tree([*whole.ids, *self._suffix], branches, whole.keep),), places)
        trees = tuple(
            Tree([*one.ids, *self._suffix], [b], one.keep) for one, b in zip(kept, branches, strict=True)
        )
        return CompletionTrees(trees, tuple((i, 0) for i in range(len(trees))))

    def places(self, prompt: str, completion: str) -> list[tuple[int, int]]:
        """Where the tokens of a completion stand in its unquoted text; a leading BOS has no text."""
        before = () if self._suffix else prompt_ids(self._tokenizer, prompt).ids
        return [(0, 0)] * self.leading + encode_with_places(self._tokenizer, completion, before)[1]

    def _branch(self, completion: str, prompt: Sequence[int]) -> list[int]:
        # A decoder that has an encoder reads a completion as a text of its own.
        ids = completion_ids(self._tokenizer, completion, () if self._suffix else prompt)
        if self._suffix:
            ids = [*self._prefix, *ids]
        # One token of the prompt stays, for the completion's first token to follow.
        # A decoder reads a token before the completion's first.
        room = min(self._positions, self.max_length - len(self._prefix) - len(self._suffix)) - 1
        if len(ids) > room:
            self.counts["cut_completions"] += 1
            self.counts["cut_tokens"] += len(ids) - room
        return ids[:room]


def describe_cuts(counts: Mapping[str, int]) -> str:
    """Sentence about what was truncated; empty if nothing was.

    >>> describe_cuts({"cut_prompts": 2, "cut_completions": 0, "cut_tokens": 31, "identical_pairs": 1})
    '2 prompts cut, 31 tokens in all; 1 pair left out because its completions are identical when read'

    Args:
        counts: Counts of a `CompletionReader`, and ``identical_pairs``.
    """
    found = {name: int(counts.get(name, 0)) for name in ("cut_prompts", "cut_completions", "cut_tokens")}
    cut = [_number(found[f"cut_{noun}s"], noun) for noun in ("prompt", "completion") if found[f"cut_{noun}s"]]
    parts = [f"{' and '.join(cut)} cut, {_number(found['cut_tokens'], 'token')} in all"] if cut else []
    if pairs := counts.get("identical_pairs", 0):
        owner = "its" if pairs == 1 else "their"
        parts.append(f"{_number(pairs, 'pair')} left out because {owner} completions are identical when read")
    elif same := counts.get("identical_completions", 0):
        parts.append(f"{_number(same, 'completion')} identical to another of the same prompt when read")
    return "; ".join(parts)


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
