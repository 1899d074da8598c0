"""Rewards by an endpoint: servers compute a sequence classifier's scores of token ids that are made here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from pluralign.core import Decision, InputError, OptionRewards
from pluralign.core.errors import ServerError
from pluralign.core.jsonl import is_list, is_object
from pluralign.core.messages import Messages, Template
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.http_errors import Refused
from pluralign.lm.servers import Request, Servers
from pluralign.rewards.reading import Reading, open_reading
from pluralign.rewards.reward import Reward

PREFIX = "endpoint:"
_BATCH = 8
"""Number of texts in a request."""


@dataclass(frozen=True)
class RewardEndpoint:
    """Servers of a reward model, and how they are asked.

    Args:
        settings: Base URLs, numbers of requests and tries.
        model: Name of the model at the servers; by default the only one that they serve.
        path: ``/classify`` or ``/pooling``, as vLLM has them.
        tokenizer: Folder or hub id of the classifier, for its tokenizer, template and limits; by default the
            place from which the servers loaded it.
        tolerance: Largest difference from the rewards that an exported folder contains for a few texts.
        check: Whether to check that the servers return the rewards of this model.
    """

    settings: EndpointSettings = field(default_factory=EndpointSettings)
    model: str | None = None
    path: str = "/classify"
    tokenizer: str | None = None
    tolerance: float = 0.01
    check: bool = True

    def __post_init__(self) -> None:
        if self.path not in ("/classify", "/pooling"):
            raise InputError(f"must be /classify or /pooling, found {self.path!r}", field="path")
        if not self.settings.urls:
            raise InputError("expected endpoint:URL, found no URL", field="endpoint")


def parse_endpoint(spec: str) -> RewardEndpoint:
    """Read ``endpoint:URL,URL?name=value&name=value``; names are the fields of `RewardEndpoint`, and
    ``concurrency``, ``timeout`` and ``retries``.

    Raises:
        InputError: An option is unknown or has no such value.
    """
    urls, _, options = spec.removeprefix(PREFIX).partition("?")
    parsers: dict[str, Callable[[str], Any]] = {
        "model": str, "path": str, "tokenizer": str, "tolerance": float, "check": _yes_or_no,
        "concurrency": int, "timeout": float, "retries": int,
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, value in parse_qsl(options, keep_blank_values=True):
        if name not in parsers:
            raise InputError(f"unknown option {name!r}; known: {', '.join(parsers)}", field="endpoint")
        try:
            found[name] = parsers[name](value)
        except ValueError as error:
            raise InputError(f"has no value {value!r}", field=name) from error
    # Servers have their paths next to /v1.
    places = tuple(url.rstrip("/").removesuffix("/v1") for url in urls.split(",") if url)
    requests = {f.name: found.pop(f.name) for f in fields(EndpointSettings) if f.name in found}
    return RewardEndpoint(EndpointSettings(places, **requests), **found)


class EndpointReward(Reward):
    """A sequence classifier that servers compute: its raw score, or the log-odds of its second class of two.

    Texts are rendered, tokenized and truncated here, as `load_reward` does with the folder; the servers get
    token ids. Make one with `open_endpoint_reward`.

    Args:
        servers: Servers of the classifier.
        endpoint: How they are asked; with the name of the model.
        reading: Texts to token ids.
        longest: Largest number of tokens that the servers read; None if they do not say.
    """

    def __init__(
        self, servers: Servers, endpoint: RewardEndpoint, reading: Reading, longest: int | None
    ) -> None:
        self._servers, self._endpoint, self._reading, self._longest = servers, endpoint, reading, longest
        self.name = str(endpoint.model)

    @property
    def counts(self) -> Mapping[str, int]:
        """See `Reward`."""
        return self._reading.counts

    @property
    def identity(self) -> Mapping[str, str]:
        """Name of the served model and digest of the folder that it was compared with."""
        return {"served": self.name, "folder": self._reading.digest}

    def render(self, messages: Messages, opens: bool) -> str:
        """Messages rendered as the trained reward model reads them; of other classifiers by the tokenizer's
        chat template, or as HH-RLHF's plain dialogue without one."""
        return self.template(messages, opens)

    @property
    def template(self) -> Template:
        """See `Reward`."""
        return self._reading.template

    def score_decisions(self, decisions: Iterable[Decision]) -> list[OptionRewards]:
        """See `Reward`; sigma is 0.

        Raises:
            ServerError: A server refuses a text, or does not answer after all tries.
            InputError: A text is longer than the servers read.
        """
        read = [self._reading.paths(decision) for decision in decisions]
        values = self._scores([path for paths in read for path in paths])
        parts = np.split(values, np.cumsum([len(paths) for paths in read])[:-1]) if read else []
        return [OptionRewards(part, np.zeros_like(part)) for part in parts]

    def _scores(self, rows: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        for number, row in enumerate(rows, start=1):
            if self._longest is not None and len(row) > self._longest:
                raise InputError(
                    f"text {number} of {len(rows)} has {len(row)} tokens, and {self._place} reads up to "
                    f"{self._longest}; serve it with --max-model-len {self._reading.limit}"
                )
        groups = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        requests = [_request(self._endpoint, group) for group in groups]
        found = np.zeros(len(rows))
        for number, answer in self._servers.each(len(groups), requests.__getitem__):
            scores = _read(answer, len(groups[number]), self._reading.labels, self._place)
            found[number * _BATCH :][: len(scores)] = [_reward(score) for score in scores]
        return found

    @property
    def _place(self) -> str:
        return f"the endpoint {', '.join(self._servers.urls)} for model '{self.name}'"


def open_endpoint_reward(spec: str) -> EndpointReward:
    """Open ``endpoint:URL``, and check that its servers return the rewards of one known model.

    The key is VLLM_API_KEY, if any.

    Raises:
        InputError: A server does not answer, or serves another model or other scores; the tokenizer cannot be
            loaded.
    """
    endpoint = parse_endpoint(spec)
    key = os.environ.get("VLLM_API_KEY") or None
    servers = Servers(endpoint.settings.urls, endpoint.settings, key=key)
    listed = [
        _listed(answer, url, endpoint.model)
        for answer, url in zip(servers.of_all(Request("/v1/models")), servers.urls, strict=True)
    ]
    names = sorted({card["id"] for card in listed})
    if len(names) > 1:
        raise InputError(f"the servers serve several models ({', '.join(names)}); give model=NAME")
    endpoint = replace(endpoint, model=names[0])
    reading = open_reading(endpoint.tokenizer or str(listed[0].get("root") or names[0]))
    if endpoint.check:
        _check(servers, endpoint, reading)
    limits = [card["max_model_len"] for card in listed if isinstance(card.get("max_model_len"), int)]
    return EndpointReward(servers, endpoint, reading, min(limits, default=None))


def _listed(answer: Any, url: str, model: str | None) -> Mapping[str, Any]:
    """The card of the model among those that a server lists."""
    if isinstance(answer, Exception):
        raise InputError(f"does not list its models (/v1/models): {answer}", path=url)
    cards = [card for card in _data(answer) if is_object(card)]
    names = [str(card.get("id")) for card in cards]
    if model is None and len(cards) != 1:
        raise InputError(f"serves {', '.join(names) or 'no model'}; give model=NAME", path=url)
    if model is not None and model not in names:
        raise InputError(f"serves {', '.join(names) or 'no model'}, not '{model}'", path=url)
    return cards[0 if model is None else names.index(model)]


def _request(endpoint: RewardEndpoint, rows: Sequence[Sequence[int]]) -> Request:
    body = {"model": endpoint.model, "input": [list(row) for row in rows], "use_activation": False}
    return Request(endpoint.path, body if endpoint.path == "/classify" else {**body, "task": "classify"})


def _read(answer: Any, count: int, labels: int, place: str) -> list[list[float]]:
    """Scores of each text of a request, in order, shape (texts, labels)."""
    if isinstance(answer, Refused):
        raise ServerError(f"refused by {place} ({answer.status}): {answer}")
    if isinstance(answer, Exception):
        raise ServerError(f"no usable answer from {place}: {answer}")
    rows = {row.get("index"): row.get("probs", row.get("data")) for row in _data(answer) if is_object(row)}
    found: list[list[float]] = []
    for number in range(count):
        scores: Any = rows.get(number)
        if not is_list(scores) or not all(isinstance(s, float | int) and math.isfinite(s) for s in scores):
            raise ServerError(f"no scores of all texts from {place}: {answer!r:.200}")
        if len(scores) != labels:
            raise ServerError(f"{place} returns {len(scores)} labels per text; its folder has {labels}")
        found.append([float(score) for score in scores])
    return found


def _data(answer: Any) -> list[Any]:
    data = answer.get("data") if is_object(answer) else None
    return data if is_list(data) else []


def _reward(scores: Sequence[float]) -> float:
    return scores[0] if len(scores) == 1 else scores[1] - scores[0]


def _check(servers: Servers, endpoint: RewardEndpoint, reading: Reading) -> None:
    """Refuse servers that return probabilities, or the scores of another model, by a few texts."""
    request = _request(endpoint, reading.probes)
    for answer, url in zip(servers.of_all(request), servers.urls, strict=True):
        place = f"the endpoint {url} for model '{endpoint.model}'"
        scores = _read(answer, len(reading.probes), reading.labels, place)
        found = np.array([_reward(own) for own in scores])
        if reading.rewards is None:
            if _like_probabilities(scores):
                raise InputError(
                    f"{place} returns what look like probabilities ({found[0]:.3g}, ...); serve it "
                    'with --hf-overrides \'{"problem_type": "regression"}\' for raw scores, or add check=no '
                    "if these are raw scores"
                )
            continue
        expected = np.array(reading.rewards)
        gap = float(np.abs(found - expected).max())
        if gap <= endpoint.tolerance:
            continue
        if float(np.abs(found - 1 / (1 + np.exp(-expected))).max()) <= 0.02:
            raise InputError(
                f"{place} returns probabilities, not raw scores; export the model again, so that its "
                'config.json has "problem_type": "regression"'
            )
        raise InputError(
            f"{place} gives rewards that differ by up to {gap:.2g} from those of {reading.place}: it "
            "serves another model, or this one in lower precision (serve it with --dtype float32, or allow "
            "the difference with tolerance=NUMBER)"
        )


def _like_probabilities(scores: Sequence[Sequence[float]]) -> bool:
    """Whether all scores could be probabilities: of the classes, or each of its own."""
    flat = [score for own in scores for score in own]
    between = all(0 <= score <= 1 for score in flat)
    return between and (len(scores[0]) == 1 or all(abs(sum(own) - 1) < 1e-3 for own in scores))


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(text)
    return text == "yes"
