"""Requests that are decoded together: their mixtures, sampling settings and random numbers on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pluralign.core import InputError
from pluralign.lm.decoding import Decoding, TokenSampler, sampling_device
from pluralign.steer.prediction import Entry, Prediction
from pluralign.steer.requests import TokenLogProb
from pluralign.steer.token_rules import AppliedRules


class MixtureBatch:
    """Requests and their rows, which stay the same for several steps, so that a step transfers none of this.

    Args:
        requests: Number of each request.
        rows: Request and policy of each row.
        weights: Weight of each row in its request's mixture.
        decodings: Sampling settings of each request.
        uniforms: Random numbers of each request's further tokens.
        device: Device of the predictions.
        rules: Rules of each request; None for a request without any.
        alternatives: Number of most likely tokens that each request reports; None if it reports no
            log-probabilities.
    """

    def __init__(
        self, requests: Sequence[int], rows: Sequence[Entry], weights: Sequence[float],
        decodings: Sequence[Decoding], uniforms: Sequence[Float[np.ndarray, " _"]],
        device: torch.device, rules: Sequence[AppliedRules | None], alternatives: Sequence[int | None],
    ) -> None:  # fmt: skip
        self.requests, self.rows = list(requests), list(rows)
        place = {request: i for i, request in enumerate(requests)}
        self._owners = torch.tensor([place[request] for request, _ in rows], device=device)
        self._weights = torch.tensor(weights, device=device)
        self._sampler = TokenSampler(decodings, device)
        whole = np.zeros((max(map(len, uniforms)), len(requests)))
        for i, own in enumerate(uniforms):
            whole[: len(own), i] = own
        self._uniforms = torch.tensor(whole, device=sampling_device(device))
        self._rules = {i: own for i, own in enumerate(rules) if own is not None}
        self._alternatives = {i: count for i, count in enumerate(alternatives) if count is not None}
        self._step = 0
        self.failed: dict[int, InputError] = {}
        """Requests of which the rules could not be applied in the last step, with the reasons."""

    def choose(self, found: Prediction, power: float) -> list[tuple[int, TokenLogProb | None]]:
        """The next token of every request, from the predictions of its rows; and its log-probability, for
        requests that report it. The tokens of `failed` requests mean nothing.

        Args:
            found: Predictions of the rows.
            power: Power of the mixtures (`mixing.mix_rows`).
        """
        mixed = found.mixed(self._owners, self._weights, len(self.requests), power)
        ruled = self._ruled(mixed) if self._rules else mixed
        self._step += 1
        chosen: Any = self._sampler.choose(ruled, self._uniforms[self._step - 1])
        # The only transfer from the device in a step, whatever the number of requests.
        tokens: list[int] = chosen.tolist()
        reported = {
            i: token_log_probs(mixed[i : i + 1], [tokens[i]], count)[0]
            for i, count in self._alternatives.items()
        }
        return [(token, reported.get(i)) for i, token in enumerate(tokens)]

    def _ruled(self, mixed: Float[Tensor, "requests vocabulary"]) -> Float[Tensor, "requests vocabulary"]:
        """The log-probabilities by the rules of each request; a request whose rules fail ends alone."""
        self.failed, own = {}, list[Tensor]()
        for i, rules in self._rules.items():
            try:
                own.append(rules.apply(mixed[i]))
            except InputError as error:
                self.failed[self.requests[i]] = error
                own.append(mixed[i])
        return mixed.index_copy(0, torch.tensor(list(self._rules), device=mixed.device), torch.stack(own))


def token_log_probs(
    log_probs: Float[Tensor, "tokens vocabulary"], tokens: Sequence[int], alternatives: int
) -> list[TokenLogProb]:
    """Log-probabilities of tokens, with the most likely tokens at each place."""
    own: Any = log_probs.gather(1, torch.tensor(tokens, device=log_probs.device)[:, None])[:, 0]
    best: Any = log_probs.topk(alternatives, dim=-1)
    return [
        TokenLogProb(token, log_prob, tuple(zip(ids, values, strict=True)))
        for token, log_prob, ids, values in zip(
            tokens, own.tolist(), best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]
