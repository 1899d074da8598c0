"""Any OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, a provider) as something that writes replies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pluralign.core import InputError

Messages = Sequence[Mapping[str, str]]
_OFTEN_REFUSED = ("seed", "temperature", "max_tokens")


PREFIX = "openai:"
"""Beginning of the name of a model at an endpoint: ``openai:MODEL``."""


def endpoint_model(name: str) -> str | None:
    """The model in ``openai:MODEL``; None for the name of a local model."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


class Endpoint:
    """Writes replies over HTTP, with `LanguageModel.generate`'s signature.

    The official client retries timeouts, connection errors, 408, 409, 429 and 5xx with exponential
    back-off and jitter, and waits as long as Retry-After says (up to two minutes). A parameter that
    the server refuses by name (``seed``, ``temperature``, ``max_tokens``) is left out from then on.

    Args:
        model: Name of the model at the endpoint.
        url: Address of the endpoint; None takes OPENAI_BASE_URL, or OpenAI's own.
        key: None takes OPENAI_API_KEY; local servers mostly want none.
        concurrency: Number of simultaneous requests.
        timeout: Seconds until one try is given up.
        retries: Number of tries after the first.

    Raises:
        InputError: The package ``openai`` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        url: str | None = None,
        key: str | None = None,
        concurrency: int = 8,
        timeout: float = 60.0,
        retries: int = 5,
    ) -> None:
        try:
            import openai
        except ImportError as error:
            raise InputError("endpoints need the openai package: pip install 'pluralign[openai]'") from error
        self._openai = openai
        # The client refuses to be made without a key, which local servers do not look at.
        key = key or os.environ.get("OPENAI_API_KEY") or "none"
        url = url or os.environ.get("OPENAI_BASE_URL") or None
        try:
            self._client = openai.OpenAI(base_url=url, api_key=key, timeout=timeout, max_retries=retries)
        except Exception as error:
            raise InputError(f"cannot be used as an endpoint: {error}", path=url) from error
        self._model, self._retries = model, retries
        self._pool = ThreadPoolExecutor(max_workers=concurrency)
        self._left_out: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """``openai:MODEL``."""
        return f"openai:{self._model}"

    @property
    def url(self) -> str:
        """Where requests go."""
        return str(self._client.base_url)

    def generate(
        self,
        chats: Sequence[Messages | str],
        *,
        max_new_tokens: int,
        temperature: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """One reply to each chat, in order.

        Whether equal seeds give equal replies is the server's affair.

        Raises:
            InputError: The endpoint refuses, or gives no answer after all retries; names the URL
                and the last error.
        """
        seeds = [seed] * len(chats) if isinstance(seed, int) else list(seed)
        return self._all(chats, seeds, max_new_tokens, temperature, plain=False)

    def _all(
        self, prompts: Sequence[Messages | str], seeds: Sequence[int], max_new_tokens: int,
        temperature: float, *, plain: bool,
    ) -> list[str]:  # fmt: skip
        futures = [
            self._pool.submit(self._reply, prompt, max_new_tokens, temperature, seed, plain)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        try:
            return [future.result() for future in futures]
        except BaseException as error:
            for future in futures:
                future.cancel()
            if not isinstance(error, InputError):
                # Interrupted: without this, the interpreter waits at its end for all retries.
                self.close()
            raise

    def complete(
        self,
        prompts: Sequence[Messages | str],
        *,
        max_new_tokens: int,
        temperature: float,
        seeds: Sequence[int],
    ) -> list[str]:
        """One completion of each prompt: of messages the assistant's reply, of a text its continuation as it
        stands (the server's older ``completions``, which vLLM and llama.cpp have).

        Args:
            prompts: Texts or messages.
            max_new_tokens: Largest number of tokens of a completion.
            temperature: 0 takes the most likely token.
            seeds: Seed of each prompt.

        Raises:
            InputError: See `generate`.
        """
        return self._all(prompts, seeds, max_new_tokens, temperature, plain=True)

    def close(self) -> None:
        """Let go of connections and threads; requests not yet sent are dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _reply(
        self, chat: Messages | str, max_new_tokens: int, temperature: float, seed: int, plain: bool
    ) -> str:
        continues = plain and isinstance(chat, str)
        messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(m) for m in chat]
        while True:
            left_out = self._left_out
            parameters: dict[str, Any] = {
                # Servers keep seeds as 32-bit integers.
                "seed": seed % 2**31,
                "temperature": temperature,
                "max_tokens": max_new_tokens,
            }
            if "max_tokens" in left_out and not continues:
                # What the newer models of OpenAI call it.
                parameters["max_completion_tokens"] = max_new_tokens
            parameters = {name: value for name, value in parameters.items() if name not in left_out}
            try:
                if continues:
                    complete: Any = self._client.completions.create
                    response = complete(model=self._model, prompt=chat, **parameters)
                    return (response.choices[0].text if response.choices else None) or ""
                create: Any = self._client.chat.completions.create
                response = create(model=self._model, messages=messages, **parameters)
                return (response.choices[0].message.content if response.choices else None) or ""
            except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as error:
                refused = {name for name in _OFTEN_REFUSED if name in str(error)} & parameters.keys()
                if not refused:
                    raise self._dead(error) from error
                self._left_out = self._left_out | refused
            except (self._openai.OpenAIError, AttributeError, TypeError, ValueError) as error:
                raise self._dead(error) from error

    def _dead(self, error: Exception) -> InputError:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        if error.__cause__ is not None and str(error.__cause__):
            reason += f" ({' '.join(str(error.__cause__).split())[:200]})"
        return InputError(
            f"no usable answer from the endpoint {self.url} for model '{self._model}' "
            f"({self._retries} retries where they help): {reason}"
        )
