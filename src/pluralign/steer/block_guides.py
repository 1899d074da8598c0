"""Guides of blockwise decoding: scores of texts that are being written, under a user's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pluralign.core import InputError, SteeringWeights
from pluralign.core.checks import require
from pluralign.core.messages import Prompt
from pluralign.folders.card import CARD, read_card
from pluralign.lm.backbone import Backbone, resolve_dtype
from pluralign.lm.decoding import Decoding
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.forest import Tree
from pluralign.lm.text_blocks import BlockKind
from pluralign.rewards.identity import Scorer, reward_identity, reward_name
from pluralign.rewards.open import load_rewards, require_reward
from pluralign.rewards.reward import Reward
from pluralign.rewards.value_model import KIND
from pluralign.steer.value_rows import ValueRows, open_value_rows


@dataclass(frozen=True)
class Draft:
    """An answer as far as it is written, at the end of a block.

    Args:
        prompt: Its prompt.
        text: Its text.
        finished: Whether nothing follows.
        prompt_ids: Token ids of the prompt.
        ids: Token ids of the text.
        start: Number of tokens before its last block.
    """

    prompt: Prompt
    text: str
    finished: bool
    prompt_ids: Sequence[int]
    ids: Sequence[int]
    start: int


DraftScore = Callable[[Draft], float]
"""Function from a draft to its score; higher is better."""
BlockGuide = str | Path | Reward | DraftScore
"""Folder of a value model, a reward (`load_reward`), or a function of drafts."""


@dataclass(frozen=True)
class Blocks:
    """Blockwise guided decoding: of several continuations of one block, the best by the guides is kept.

    At each block's end, ``draws`` continuations of one block are sampled from the same cache, scored, and the
    best is continued (process rewards; Shen et al. 2025). With one draw this is sampling, and with one block
    as long as the answer it is best-of-n.

    Examples:
        >>> import pluralign as pl
        >>> mix = pl.load_policies("tiny-random", base="tiny-random")
        >>> blocks = pl.Blocks({"short": lambda draft: -len(draft.text)}, draws=3, tokens=4)
        >>> text = mix.generate("Hello", weights={"base": 1.0}, max_new_tokens=8, blocks=blocks)

    Args:
        guides: Guide of each objective: folder of a value model (``learn value``), a reward as
            `load_reward` takes it, or a function from a `Draft` to a number.
        weights: Weights of the guides, summing to one; equal by default. Values of value models are in
            standard deviations of their training rewards, other scores in their own units.
        draws: Number of continuations of each block (Shen et al. 2025: 5).
        end: Unit of a block: sentences, lines, or tokens.
        tokens: Largest number of tokens of a block.
        dtype: Floating-point type of value models and rewards.

    Raises:
        InputError: There is no guide, a weight names an objective without one, a folder holds neither a value
            model nor a reward, or a number is below 1.
    """

    guides: Mapping[str, BlockGuide]
    weights: Mapping[str, float] | None = None
    draws: int = 5
    end: BlockKind = "sentences"
    tokens: int = 64
    dtype: DTypeName = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        require(self, {"draws": 1, "tokens": 1})
        if not self.guides:
            raise InputError("expected at least one guide, found none", field="guides")
        mix = SteeringWeights.uniform(tuple(self.guides)) if self.weights is None else self.weights
        weights = SteeringWeights(mix)
        weights.require_known(tuple(self.guides))
        # A guide of weight zero is not opened.
        used = {name: guide for name, guide in self.guides.items() if weights.get(name, 0.0) > 0}
        object.__setattr__(self, "weights", SteeringWeights({name: weights[name] for name in used}))
        for guide in used.values():
            if isinstance(guide, str | Path):
                require_reward(guide)
        object.__setattr__(self, "guides", used)

    @cached_property
    def scores(self) -> DraftScores:
        """The guides, opened."""
        return DraftScores(self)

    def require_sampling(self, decoding: Decoding) -> None:
        """Refuse several draws that would be the same.

        Raises:
            InputError: The temperature is 0.
        """
        if self.draws > 1 and decoding.temperature == 0:
            raise InputError(f"at 0, the {self.draws} draws of a block are all the same", field="temperature")

    def described(self) -> dict[str, Any]:
        """Columns that record the guidance in each row of a file."""
        return {
            "guides": {name: reward_name(guide) for name, guide in self.guides.items()},
            "guide_weights": dict(self.weights or {}),
            "block": self.end,
            "block_tokens": self.tokens,
            "draws": self.draws,
        }

    def digests(self) -> dict[str, Any]:
        """What the scores depend on, beyond the columns: the guides' identities and their type."""
        known = {name: reward_identity(guide) for name, guide in self.guides.items()}
        return {"guides": known, "dtype": self.dtype}


class DraftScores:
    """Weighted sum of the guides' scores of drafts.

    Args:
        blocks: Guides, weights and type.

    Raises:
        InputError: A guide cannot be loaded.
    """

    def __init__(self, blocks: Blocks) -> None:
        dtype = resolve_dtype(blocks.dtype)
        folders: dict[str, Path] = {}
        rewards: dict[str, Scorer] = {}
        self._weights = SteeringWeights(blocks.weights or {})
        self._functions: dict[str, DraftScore] = {}
        for name, guide in blocks.guides.items():
            if not isinstance(guide, str | Path | Reward):
                self._functions[name] = guide
            elif not isinstance(guide, Reward) and _holds_values(Path(guide)):
                folders[name] = Path(guide)
            else:
                rewards[name] = guide
        self._rewards = load_rewards(rewards, dtype=dtype)
        self._values: list[ValueRows] = open_value_rows(folders, dtype=dtype)[0] if folders else []

    def require_fit(self, base: Backbone) -> None:
        """Refuse a language model that the value models cannot guide."""
        for part in self._values:
            part.require_fit(base)

    def __call__(self, drafts: Sequence[Draft]) -> npt.NDArray[np.float64]:
        """Weighted sum of the scores of each draft.

        Raises:
            InputError: A guide's score is no finite number.
        """
        total = np.zeros(len(drafts))
        for name, found in self._each(drafts).items():
            if not np.isfinite(found).all():
                worst = next(float(score) for score in found if not math.isfinite(score))
                raise InputError(f"the guide {name!r} scored a text {worst}", field="guides")
            total += self._weights[name] * found
        return total

    def _each(self, drafts: Sequence[Draft]) -> dict[str, npt.NDArray[np.float64]]:
        found: dict[str, npt.NDArray[np.float64]] = {}
        trees, places = _trees(drafts)
        for part in self._values:
            for name, values in part.after(trees).items():
                parts = [own.cpu().double().numpy() for own in values]
                found[name] = np.array([parts[tree][branch] for tree, branch in places])
        for name, reward in self._rewards.items():
            found[name] = reward.score([draft.prompt for draft in drafts], [draft.text for draft in drafts])
        for name, function in self._functions.items():
            found[name] = np.array([_number(name, function(draft)) for draft in drafts])
        return found


def _holds_values(folder: Path) -> bool:
    return (folder / CARD).is_file() and read_card(folder)["pluralign"] == KIND


def _number(name: str, found: Any) -> float:
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the guide {name!r} returned {found!r:.60}, expected a number", field="guides"
        ) from error


def _trees(drafts: Sequence[Draft]) -> tuple[list[Tree], list[tuple[int, int]]]:
    """Drafts of one prompt and text before the block as one tree; tree and branch of each draft."""
    branches: dict[tuple[int, ...], list[list[int]]] = {}
    places: list[tuple[int, int]] = []
    for draft in drafts:
        prefix = (*draft.prompt_ids, *draft.ids[: draft.start])
        own = branches.setdefault(prefix, [])
        places.append((list(branches).index(prefix), len(own)))
        own.append(list(draft.ids[draft.start :]))
    return [Tree(list(prefix), own) for prefix, own in branches.items()], places
