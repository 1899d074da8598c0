"""Any OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, a provider) as a model that writes replies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pluralign.core import InputError
from pluralign.core.jsonl import is_list, is_object
from pluralign.lm.endpoint_settings import EndpointSettings, base_urls
from pluralign.lm.http_errors import Refused, Unanswered
from pluralign.lm.servers import Request, Servers

_log = logging.getLogger(__name__)
Messages = Sequence[Mapping[str, str]]
_CHATS = "/chat/completions"
_OFTEN_REFUSED = ("seed", "temperature", "max_tokens")

PREFIX = "openai:"
"""Beginning of the name of a model at an endpoint: ``openai:MODEL``."""


def endpoint_model(name: str) -> str | None:
    """The model in ``openai:MODEL``; None for the name of a local model."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


@dataclass(frozen=True)
class Reply:
    """A reply of a model at an endpoint.

    Args:
        text: The reply.
        finish_reason: Reason for its end, in the server's words (``stop``; ``length`` if it was cut off at
            the largest number of tokens); None if the server gives none.
    """

    text: str
    finish_reason: str | None


class Endpoint:
    """Generates replies over HTTP, with `LanguageModel.generate`'s signature.

    See `Servers` for retries. A parameter that the server refuses by name (``seed``, ``temperature``,
    ``max_tokens`` of chats) is left out from then on, with a warning where nothing takes its place.

    Args:
        model: Name of the model at the endpoint.
        settings: URLs, numbers of requests and tries; None uses the defaults.
        key: API key; None takes OPENAI_API_KEY. Most local servers need none.

    Raises:
        InputError: The model has no name; or see `Servers`.
    """

    def __init__(
        self, model: str, settings: EndpointSettings | None = None, *, key: str | None = None
    ) -> None:
        if not model:
            raise InputError(f"expected {PREFIX}MODEL, found {PREFIX!r}", field="model")
        settings = settings or EndpointSettings()
        urls = base_urls(settings.urls, "https://api.openai.com/v1")
        self._servers = Servers(urls, settings, key=key or os.environ.get("OPENAI_API_KEY") or None)
        self._model = model
        self._left_out: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """``openai:MODEL``."""
        return f"{PREFIX}{self._model}"

    @property
    def urls(self) -> list[str]:
        """Base URLs of the servers."""
        return self._servers.urls

    def generate(
        self,
        chats: Sequence[Messages | str],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """Generate one reply per chat, in order. Equal seeds give equal replies if the server heeds seeds.

        Raises:
            InputError: The endpoint refuses a chat, or does not answer after all tries; the message contains
                the URLs and the last error.
        """
        seeds = [seed] * len(chats) if isinstance(seed, int) else list(seed)
        given = [_as_messages(chat) for chat in chats]
        try:
            found = dict(self.replies(given, seeds, max_new_tokens=max_new_tokens, temperature=temperature))
        except InputError as error:
            # The number of a chat means nothing to callers that ask in batches.
            raise InputError(error.message) from error
        return [found[i].text for i in range(len(chats))]

    def replies(
        self,
        prompts: Sequence[Messages | str],
        seeds: Sequence[int],
        *,
        max_new_tokens: int,
        temperature: float,
    ) -> Iterator[tuple[int, Reply]]:
        """Generate one completion per prompt, and yield (index, reply) as the replies arrive.

        Args:
            prompts: Messages, whose completion is the assistant's reply, or texts, which are continued
                (``/completions``, which vLLM and llama.cpp have).
            seeds: Seed of each prompt; servers get it modulo 2**31.
            max_new_tokens: Largest number of tokens of a completion.
            temperature: Sampling temperature; 0 selects the most likely token.

        Raises:
            InputError: See `generate`; its row is the prompt's number, from 1.
        """

        def request(number: int) -> Request:
            return self._request(prompts[number], seeds[number], max_new_tokens, temperature)

        for number, answer in self._servers.each(len(prompts), request, again=self._leaves_out):
            if isinstance(answer, Exception):
                raise self._failed(answer, number + 1)
            yield number, self._read(answer, number + 1)

    def close(self) -> None:
        """Close connections; requests that have not been sent are dropped."""
        self._servers.close()

    def _request(
        self, prompt: Messages | str, seed: int, max_new_tokens: int, temperature: float
    ) -> Request:  # fmt: skip
        left_out = self._left_out
        parameters: dict[str, Any] = {
            # Servers keep seeds as 32-bit integers.
            "seed": seed % 2**31,
            "temperature": temperature,
            "max_tokens": max_new_tokens,
        }
        body = {"model": self._model, **{k: v for k, v in parameters.items() if k not in left_out}}
        if isinstance(prompt, str):
            return Request("/completions", {**body, "prompt": prompt})
        if "max_tokens" in left_out:
            # The newer models of OpenAI have this name for it.
            body["max_completion_tokens"] = max_new_tokens
        return Request(_CHATS, {**body, "messages": [dict(message) for message in prompt]})

    def _leaves_out(self, error: Refused, request: Request) -> bool:
        """Whether a request was refused because of a parameter, which is left out from then on."""
        refused = {name for name in _OFTEN_REFUSED if name in error.reason} & (request.body or {}).keys()
        if request.path != _CHATS:
            # Texts have no other name for it: the server would cut them at a length of its own.
            refused -= {"max_tokens"}
        if error.status not in (400, 422) or not refused:
            return False
        for name in sorted(refused - self._left_out - {"max_tokens"}):
            _log.warning("%s refuses %r, which is left out from now on: %s", self.name, name, error.reason)
        self._left_out = self._left_out | refused
        return True

    def _read(self, answer: Any, number: int) -> Reply:
        """The reply in a server's answer; empty without one."""
        choices = answer.get("choices") if is_object(answer) else None
        if choices == []:
            return Reply("", None)
        choice: Any = choices[0] if is_list(choices) else None
        message = choice.get("message", choice) if is_object(choice) else None
        if not is_object(choice) or not is_object(message):
            raise self._failed(Unanswered(f"the answer has no choices: {answer!r:.200}"), number)
        text, reason = message.get("content", message.get("text")), choice.get("finish_reason")
        return Reply(text if isinstance(text, str) else "", reason if isinstance(reason, str) else None)

    def _failed(self, error: Exception, number: int) -> InputError:
        where = f"the endpoint {', '.join(self.urls)} for model '{self._model}'"
        if isinstance(error, Refused):
            return InputError(f"refused by {where} ({error.status}): {error.reason}", row=number)
        retries = self._servers.settings.retries
        return InputError(f"no usable answer from {where} ({retries} retries): {error}", row=number)


def _as_messages(chat: Messages | str) -> Messages:
    return [{"role": "user", "content": chat}] if isinstance(chat, str) else chat
