"""The rows of vLLM's batches that belong to mixtures: their mixing, and the drawing of their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.lm.decoding import Decoding, TokenSampler
from pluralign.steer.mixing import GEOMETRIC, mix_rows
from pluralign.vllm.settings import Member


@dataclass(eq=False)
class Row:
    """A row of a batch.

    Args:
        member: Its place in its group.
        params: vLLM's sampling parameters of the row.
        output: Tokens so far; vLLM appends to this list.
    """

    member: Member
    params: Any
    output: Sequence[int]

    def __post_init__(self) -> None:
        self._uniforms: Float[np.ndarray, " tokens"] | None = None

    @classmethod
    def of(cls, params: Any, output: Sequence[int] = ()) -> Row | None:
        """The row of a request of vLLM; None for a request without steering weights."""
        member = Member.of(params.extra_args)
        return None if member is None else cls(member, params, output)

    @property
    def sampled(self) -> bool:
        """Whether its tokens are drawn at random."""
        return self.params.temperature > 0

    def uniform(self, number: int) -> float | None:
        """The number in [0, 1) that token ``number`` is drawn with; None past the last token."""
        found = self._uniforms
        if found is None:
            length: int = self.params.max_tokens
            # The numbers of `steer.decoder.MixtureDecoder`.
            found = self._uniforms = np.random.default_rng(self.member.seed).random(length)
        return float(found[number]) if 0 <= number < len(found) else None

    @property
    def decoding(self) -> Decoding:
        """How a token is chosen from logits that have been divided by the temperature."""
        top_k = max(0, self.params.top_k)
        return Decoding(self.params.max_tokens, 1.0, self.params.top_p, top_k)


class Mixtures:
    """The groups that are in a batch with all of their rows.

    A group of which some rows wait draws no token in this step, so what its other rows predict is not used.

    Args:
        rows: Rows of the batch that belong to groups, by their place.
        device: Device of the logits.
    """

    def __init__(self, rows: Mapping[int, Row], device: Any) -> None:
        groups: dict[str, list[tuple[int, Row]]] = {}
        for place, row in rows.items():
            groups.setdefault(row.member.group, []).append((place, row))
        whole = [
            sorted(group, key=lambda entry: entry[1].member.number)
            for group in groups.values()
            if len(group) == group[0][1].member.size
        ]
        self.leaders: list[tuple[int, Row]] = [group[0] for group in whole]
        """Place and row of the first member of each group."""
        flat = [(i, place, row.member.weight) for i, group in enumerate(whole) for place, row in group]
        self._all = [[place for place, _ in group] for group in whole]
        self._mixed = any(len(group) > 1 for group in whole)
        self._owners = torch.tensor([i for i, _, _ in flat], dtype=torch.long, device=device)
        self._places = torch.tensor([place for _, place, _ in flat], dtype=torch.long, device=device)
        self._weights = torch.tensor([weight for _, _, weight in flat], dtype=torch.float32, device=device)
        self._starts = torch.tensor([place for place, _ in self.leaders], dtype=torch.long, device=device)

    def mix(self, logits: Float[Tensor, "rows vocabulary"], power: float) -> Float[Tensor, "rows vocabulary"]:
        """Logits with every row of a group replaced by the group's mixture, in float32.

        A geometric mixture is the weighted sum of the members' logits; others are mixtures of their
        probabilities (`steer.mixing.mix_rows`).
        """
        if not self._mixed:
            return logits
        logits = logits.float()
        rows = logits[self._places]
        if power == GEOMETRIC:
            terms = self._weights[:, None] * rows
            found = terms.new_zeros(len(self.leaders), terms.shape[1]).index_add(0, self._owners, terms)
        else:
            found = mix_rows(rows.log_softmax(-1), self._owners, self._weights, len(self.leaders), power)
        return logits.index_copy(0, self._places, found[self._owners])

    def copy_masks(self, logits: Float[Tensor, "rows vocabulary"]) -> None:
        """Give the other rows of a group the row that a grammar has masked, in place."""
        if any(row.member.masked for _, row in self.leaders):
            logits[self._places] = logits[self._starts][self._owners]

    def draw(
        self,
        logits: Float[Tensor, "rows vocabulary"],
        numbers: Sequence[int],
        scale: bool = False,
    ) -> None:
        """Draw a token for each group that samples, and leave no other to its rows, in place.

        Args:
            logits: Logits after all penalties and masks, which are equal for all rows of a group.
            numbers: Number of tokens that each group has so far.
            scale: Whether the logits have still to be divided by the temperature and cut by min-p.
        """
        drawn: list[int] = []
        uniforms: list[float] = []
        for i, (_, row) in enumerate(self.leaders):
            uniform = row.uniform(numbers[i]) if row.sampled else None
            if uniform is not None:
                drawn.append(i)
                uniforms.append(uniform)
        if not drawn:
            return
        rows = [self.leaders[i][1] for i in drawn]
        chosen = torch.tensor(drawn, device=logits.device)
        own = logits[self._starts[chosen]]
        if scale:
            own = torch.stack([_scaled(one, row.params) for one, row in zip(own, rows, strict=True)])
        dice = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
        tokens = TokenSampler([row.decoding for row in rows], logits.device).choose(own, dice)
        alone = torch.full_like(own, -torch.inf).scatter_(1, tokens[:, None], 0.0)
        flat = [(place, k) for k, i in enumerate(drawn) for place in self._all[i]]
        places, sources = torch.tensor(flat, device=logits.device).T
        logits[places] = alone[sources]


def _scaled(logits: Float[Tensor, " vocabulary"], params: Any) -> Float[Tensor, " vocabulary"]:
    """Logits at the temperature, without what min-p leaves out."""
    logits = logits / params.temperature
    if params.min_p > 0:
        probabilities = logits.softmax(-1)
        logits = logits.masked_fill(probabilities < params.min_p * probabilities.max(), -torch.inf)
    return logits
