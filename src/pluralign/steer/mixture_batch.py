"""Requests that are decoded together: their mixtures, sampling settings and random numbers on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pluralign.lm.decoding import Decoding, TokenSampler, sampling_device
from pluralign.steer.prediction import Entry, Prediction


class MixtureBatch:
    """Requests and their rows, which stay the same for several steps, so that a step transfers none of this.

    Args:
        requests: Number of each request.
        rows: Request and policy of each row.
        weights: Weight of each row in its request's mixture.
        decodings: Sampling settings of each request.
        uniforms: Random numbers of each request's further tokens.
        device: Device of the predictions.
    """

    def __init__(
        self, requests: Sequence[int], rows: Sequence[Entry], weights: Sequence[float],
        decodings: Sequence[Decoding], uniforms: Sequence[Float[np.ndarray, " _"]],
        device: torch.device,
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
        self._step = 0

    def choose(self, found: Prediction, power: float) -> Int[Tensor, " requests"]:
        """The next token of every request, from the predictions of its rows.

        Args:
            found: Predictions of the rows.
            power: Power of the mixtures (`mixing.mix_rows`).
        """
        mixed = found.mixed(self._owners, self._weights, len(self.requests), power)
        self._step += 1
        return self._sampler.choose(mixed, self._uniforms[self._step - 1])
