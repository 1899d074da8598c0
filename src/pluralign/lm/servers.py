"""JSON requests to servers: many at once, to several servers in turn, tried again, with bounded answers."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from pluralign.core import InputError
from pluralign.lm.endpoint_settings import EndpointSettings, usable_url
from pluralign.lm.http_errors import Refused, Unanswered, cause_of, one_line, reason_of, retry_after

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Bounds of the exponential back-off, seconds."""
_LARGEST_ANSWER = 16 << 20
"""Largest size of an answer, bytes."""
_TRANSIENT = (408, 409, 429)
"""Statuses that are tried again, as are those of 500 and more."""


@dataclass(frozen=True)
class Request:
    """A request.

    Args:
        path: Path after the base URL.
        body: JSON object to post; None for GET.
    """

    path: str
    body: Mapping[str, Any] | None = None


class _Transient(Exception):
    """A failed try that can succeed later, with the wait that the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(eq=False)
class _Server:
    """One server, and the state that decides whether it is the next to be asked."""

    url: str
    in_flight: int = 0
    last_turn: int = 0
    failures: int = 0
    resting_until: float = 0.0

    def rank(self, now: float) -> tuple[float, bool, int, int]:
        """Order of preference: servers that are set aside come last, and one that failed gets a single
        request."""
        resting = max(0.0, self.resting_until - now)
        return resting, self.failures > 0 and self.in_flight > 0, self.in_flight, self.last_turn

    def rest(self, now: float, wait: float | None) -> None:
        """Set the server aside; requests that failed together count as one failure."""
        if now >= self.resting_until:
            self.failures += 1
        backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (self.failures - 1))
        # Jitter keeps the clients of a server from coming back at the same moment.
        seconds = backoff * random.uniform(0.75, 1.0) if wait is None else wait
        self.resting_until = max(self.resting_until, now + seconds)


class Servers:
    """Sends JSON requests to several servers of the same model, and reads JSON answers.

    Each request goes to the available server with the fewest requests in flight, in turn. Timeouts, lost
    connections, answers that are not JSON, and the statuses 408, 409, 429 and 5xx set a server aside for a
    time that doubles with each failure, or for as long as Retry-After says (at most two minutes); the request
    is tried again, at another server if one is available.

    Requests run in an event loop with a thread of its own, so that callers may have loops too.

    Args:
        urls: Base URLs.
        settings: Numbers of requests and tries, and the time of a try.
        key: API key; None sends none.

    Raises:
        InputError: An URL cannot be used, or the package ``httpx2`` is not installed.
    """

    def __init__(self, urls: Sequence[str], settings: EndpointSettings, *, key: str | None) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise InputError("endpoints need an HTTP client: pip install 'pluralign[openai]'") from error
        self._http = httpx2
        self.settings = settings
        self._servers = [_Server(usable_url(url)) for url in urls]
        self._turn = 0
        limits = httpx2.Limits(
            max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency
        )
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        timeout = httpx2.Timeout(settings.timeout, connect=min(10.0, settings.timeout), pool=None)
        try:
            self._client = httpx2.AsyncClient(
                headers=headers, limits=limits, timeout=timeout, follow_redirects=True
            )
        except (ValueError, OSError, ImportError) as error:
            raise InputError(f"the HTTP client cannot be set up: {error}") from error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="endpoint")
        self._thread.start()
        self.close = weakref.finalize(self, _stop, self._loop, self._thread, self._client)
        """Close connections and drop requests that have not been sent."""

    @property
    def urls(self) -> list[str]:
        """Base URLs."""
        return [server.url for server in self._servers]

    def each(
        self,
        count: int,
        request: Callable[[int], Request],
        *,
        again: Callable[[Refused, Request], bool] = lambda refused, request: False,
    ) -> Iterator[tuple[int, Any]]:
        """Send requests and yield (number, answer) as the answers arrive.

        At most ``concurrency`` requests are in flight; abandoning the iterator cancels them.

        Args:
            count: Number of requests.
            request: Function from a number below ``count`` to the request, called when it is sent.
            again: Function from a refusal and the refused request to whether ``request`` now makes another
                one. It is called in the event loop's thread, as is ``request``.

        Returns:
            An iterator of numbers and answers: parsed JSON, or the exception `Refused` or `Unanswered`.
        """
        found: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                made = request(number)
                outcome = await self._outcome(made, self._servers)
                while isinstance(outcome, Refused) and again(outcome, made):
                    made = request(number)
                    outcome = await self._outcome(made, self._servers)
                found.put((number, outcome))

        async def work_together() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.settings.concurrency, count)):
                    group.create_task(work())

        running = asyncio.run_coroutine_threadsafe(work_together(), self._loop)
        running.add_done_callback(lambda _: found.put((-1, None)))
        try:
            while (item := found.get())[0] >= 0:
                yield item
            running.result()
        finally:
            running.cancel()

    def of_all(self, request: Request) -> list[Any]:
        """The answer of each server to the same request; see `each`."""

        async def of_each() -> list[Any]:
            return await asyncio.gather(*(self._outcome(request, [server]) for server in self._servers))

        return asyncio.run_coroutine_threadsafe(of_each(), self._loop).result()

    async def _outcome(self, request: Request, servers: Sequence[_Server]) -> Any:
        try:
            return await self._answer(request, servers)
        except (Refused, Unanswered) as error:
            return error

    async def _answer(self, request: Request, servers: Sequence[_Server]) -> Any:
        last = ""
        for _ in range(self.settings.retries + 1):
            async with self._next(servers) as server:
                try:
                    async with asyncio.timeout(self.settings.timeout):
                        answer = await self._try(server.url + request.path, request.body)
                except TimeoutError:
                    last = f"timed out after {self.settings.timeout:g} s"
                    server.rest(self._loop.time(), None)
                except _Transient as error:
                    last = str(error)
                    server.rest(self._loop.time(), error.wait)
                else:
                    server.failures = 0
                    return answer
        raise Unanswered(last)

    @asynccontextmanager
    async def _next(self, servers: Sequence[_Server]) -> AsyncGenerator[_Server]:
        """The server whose turn it is, as soon as one is available."""
        while True:
            now = self._loop.time()
            server = min(servers, key=lambda one: one.rank(now))
            if (wait := server.resting_until - now) <= 0:
                break
            await asyncio.sleep(wait)
        self._turn += 1
        server.last_turn = self._turn
        server.in_flight += 1
        try:
            yield server
        finally:
            server.in_flight -= 1

    async def _try(self, url: str, body: Mapping[str, Any] | None) -> Any:
        content, method = bytearray(), "GET" if body is None else "POST"
        try:
            async with self._client.stream(method, url, json=body) as response:
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > _LARGEST_ANSWER:
                        raise Refused(response.status_code, f"an answer of over {_LARGEST_ANSWER >> 20} MiB")
        except self._http.TimeoutException as error:
            raise _Transient(f"timed out after {self.settings.timeout:g} s") from error
        except self._http.RequestError as error:
            raise _Transient(cause_of(error)) from error
        status = response.status_code
        if status in _TRANSIENT or status >= 500:
            raise _Transient(f"{status}: {reason_of(content)}", retry_after(response.headers))
        if status >= 300:
            raise Refused(status, reason_of(content))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            found = one_line(content.decode(errors="replace"))
            raise _Transient(f"the answer is not JSON: {found}") from error


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread, client: Any) -> None:
    async def close() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.aclose()

    if thread.is_alive():
        try:
            asyncio.run_coroutine_threadsafe(close(), loop).result(timeout=5)
        except TimeoutError:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)
    if not loop.is_running():
        loop.close()
