"""Value-augmented sampling: next tokens of a language model, shifted towards high values of value models.

A policy guided by one objective has the logits logits_a + beta (V(s + a) - mean V) over its k most likely
tokens a, and -inf elsewhere (Han et al. 2024). The geometric mixture of such policies has the logits logits_a
+ beta sum_i w_i (V_i(s + a) - mean V_i) if the weights sum to one. Each objective's guided policy is
therefore treated like any other policy, and `MixtureDecoder` applies the weights of each request.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.core import InputError
from pluralign.folders.backbones import same_model
from pluralign.lm.backbone import Backbone, load_backbone, merged_backbone
from pluralign.losses.guidance import guided_logits
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.policy_rows import HeldRow, PolicyRows, Size
from pluralign.steer.prediction import Entry, StatePrediction
from pluralign.steer.value_rows import ValueRows, open_value_rows


@dataclass(frozen=True)
class Guidance:
    """Strength and candidates of value guidance.

    Args:
        strength: Strength beta, nats per standard deviation of the training rewards (ours: 1). 0 is the plain
            language model: no values are computed, and the next token is drawn from all tokens.
        candidates: Number k of the language model's most likely tokens from which the next one is chosen (Han
            et al. 2024: 20).
    """

    strength: float = 1.0
    candidates: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise InputError(f"must be 0 or more, found {self.strength}", field="strength")
        if self.candidates < 1:
            raise InputError(f"must be at least 1, found {self.candidates}", field="candidates")


class ValueGuidedRows:
    """A language model guided by each of several objectives; implements `PolicyRows`.

    For each token, the language model runs one forward pass with one row per request. Each trunk of value
    models runs one forward pass with k candidates per request and weighted objective.

    Args:
        base: Rows of the language model, as their only policy.
        values: Rows of value models, named by objective.
        guidance: See `Guidance`.

    Raises:
        InputError: Two value models have the same name, or one has another vocabulary or a shorter context.
    """

    def __init__(
        self, base: PolicyRows, values: Sequence[ValueRows], guidance: Guidance | None = None
    ) -> None:
        if len(base.names) != 1:
            raise InputError(f"expected one language model to guide, found {len(base.names)}")
        self.guidance = guidance or Guidance()
        self.names = tuple(name for part in values for name in part.names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise InputError(
                f"expected value models with different names, found {', '.join(self.names) or 'none'}"
            )
        self._base, self._values = base, values
        for part in values:
            part.require_fit(base.backbone)
        # Index of each part's first policy among all policies.
        self._firsts = [sum(len(part.names) for part in values[:i]) for i in range(len(values))]
        self._candidates: dict[int, list[int]] = {}
        self._unguided: list[Entry] = []

    @property
    def backbone(self) -> Backbone:
        """See `PolicyRows`."""
        return self._base.backbone

    @property
    def context(self) -> int | None:
        """See `PolicyRows`; value models read as many tokens."""
        return self._base.context

    @property
    def order(self) -> list[Entry]:
        """See `PolicyRows`."""
        if not self.guidance.strength:
            return self._unguided
        return [
            (request, first + model)
            for first, part in zip(self._firsts, self._values, strict=True)
            for request, model in part.order
        ]

    def admit(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> StatePrediction:
        """See `PolicyRows`."""
        prompts = {request: ids for request, _, ids in entries}
        first = self._base.admit([(request, 0, ids) for request, ids in prompts.items()])
        return self._admit(entries, first.logits())

    def read(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], size: Size
    ) -> Generator[int, None, Callable[[], StatePrediction]]:
        """See `PolicyRows`: the language model reads in parts, the value models all at once afterwards."""
        prompts = {request: ids for request, _, ids in entries}
        enter = yield from self._base.read([(request, 0, ids) for request, ids in prompts.items()], size)
        return lambda: self._admit(entries, enter().logits())

    def cache_prefixes(self, tokens: int) -> None:
        """See `PolicyRows`: the language model's; value models read every prompt."""
        self._base.cache_prefixes(tokens)

    def predictions(self, policy: int, ids: Sequence[int], size: Size) -> Iterator[StatePrediction]:
        """See `PolicyRows`."""
        raise InputError(
            "guidance by value models reports no log-probabilities of prompts", field="prompt_log_probs"
        )

    @torch.inference_mode()
    def _admit(
        self, entries: Sequence[tuple[int, int, Sequence[int]]], logits: Float[Tensor, "requests vocabulary"]
    ) -> StatePrediction:
        """Predictions of new rows, of which the language model has read the prompts."""
        place = {request: i for i, request in enumerate(dict.fromkeys(request for request, _, _ in entries))}
        owners = torch.tensor([place[request] for request, _, _ in entries], device=logits.device)
        if not self.guidance.strength:
            self._unguided += [entry[:2] for entry in entries]
            return StatePrediction(logits[owners])
        ids = self._likeliest(list(place), logits)
        try:
            values = self._admit_values(entries).to(logits)
        except BaseException:
            # If a forward pass fails, no request has been added.
            self.release(set(place))
            raise
        return StatePrediction(guided_logits(logits[owners], ids[owners], values, self.guidance.strength))

    @torch.inference_mode()
    def step(self, tokens: Mapping[int, int]) -> StatePrediction:
        """See `PolicyRows`."""
        logits = self._base.step(tokens).logits()
        requests = [request for request, _ in self._base.order]
        place = {request: i for i, request in enumerate(requests)}
        owners = torch.tensor([place[request] for request, _ in self.order], device=logits.device)
        if not self.guidance.strength:
            return StatePrediction(logits[owners])
        chosen = {request: self._candidates[request].index(tokens[request]) for request in requests}
        ids = self._likeliest(requests, logits)
        parts = [part.step(chosen, self._candidates).to(logits) for part in self._values if part.order]
        return StatePrediction(
            guided_logits(logits[owners], ids[owners], torch.cat(parts), self.guidance.strength)
        )

    def release(self, requests: set[int]) -> None:
        """See `PolicyRows`."""
        self._base.release(requests)
        for part in self._values:
            part.release(requests)
        for request in requests:
            self._candidates.pop(request, None)
        self._unguided = [entry for entry in self._unguided if entry[0] not in requests]

    def hold(self, request: int) -> list[HeldRow]:
        """See `PolicyRows`."""
        raise InputError("guidance of every token is not drawn in blocks", field="block")

    def resume(self, held: Sequence[HeldRow], requests: Sequence[int]) -> None:
        """See `PolicyRows`; nothing was held."""
        raise InputError("guidance of every token is not drawn in blocks", field="block")

    def _admit_values(self, entries: Sequence[tuple[int, int, Sequence[int]]]) -> Float[Tensor, "rows k"]:
        found: dict[int, Tensor] = {}
        for first, part in zip(self._firsts, self._values, strict=True):
            own = [i for i, (_, policy, _) in enumerate(entries) if 0 <= policy - first < len(part.names)]
            if own:
                new = [(entries[i][0], entries[i][1] - first, entries[i][2]) for i in own]
                found.update(
                    zip(own, part.admit(new, self._candidates).to(self.backbone.device), strict=True)
                )
        return torch.stack([found[i] for i in range(len(entries))])

    def _likeliest(
        self, requests: Sequence[int], logits: Float[Tensor, "requests vocabulary"]
    ) -> Int[Tensor, "requests candidates"]:
        """Candidates of each request in increasing order; they are stored."""
        count = min(self.guidance.candidates, logits.shape[1])
        ids = logits.topk(count, dim=-1).indices.sort(dim=-1).values
        listed: npt.NDArray[np.int64] = ids.cpu().numpy()
        self._candidates.update({r: [int(i) for i in row] for r, row in zip(requests, listed, strict=True)})
        return ids


def open_value_guided_rows(
    base: str | Backbone, folders: Mapping[str, Path], guidance: Guidance, *, dtype: torch.dtype | None = None
) -> ValueGuidedRows:
    """Load a language model and the value models that guide it.

    Args:
        base: Name of a plain model, which value models trained on it share in memory; or a loaded language
            model for this use alone, such as a trained policy.
        folders: Folder of each objective's value model (``learn value``).
        guidance: See `Guidance`.
        dtype: Floating-point type of the trunks; float32 by default.
    """
    values, trunks = open_value_rows(folders, dtype=dtype)
    if isinstance(base, str):
        # Without adapters, the value models' trunk is the plain model.
        name = base
        shared = next((trunk for known, trunk in trunks.items() if same_model(known, name)), None)
        base = shared or load_backbone(name, dtype=dtype or torch.float32)
    return ValueGuidedRows(AdapterRows(merged_backbone(base), {"base": None}), values, guidance)
