"""A small asyncio server on 127.0.0.1 that can do all that servers do wrong."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Exchange:
    """A request, and the connection to answer it on."""

    path: str
    body: Any
    number: int
    writer: asyncio.StreamWriter = field(repr=False)

    async def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        await self.writer.drain()

    async def text(self, text: str, finish_reason: str = "stop") -> None:
        choice = {"index": 0, "finish_reason": finish_reason, "text": text}
        await self.answer({"choices": [choice]})

    async def error(self, status: int, message: str = "no", **headers: str) -> None:
        await self.answer({"error": {"message": message}}, status, **headers)

    async def cut(self) -> None:
        """Half an answer, and the connection is gone."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + b'{"choices": [')
        await self.writer.drain()
        self.writer.close()

    async def flood(self) -> None:
        """An answer without end."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while True:
            self.writer.write(block)
            await self.writer.drain()


class MisbehavingServer:
    """Serves in a thread of its own; ``respond`` answers each exchange, or does not."""

    def __init__(self, respond: Callable[[Exchange], Awaitable[None]]) -> None:
        self.respond, self.requests = respond, list[Exchange]()
        self.in_flight = self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length:")]
                body = json.loads(await reader.readexactly(int(sizes[0]))) if sizes else None
                exchange = Exchange(first.split()[1], body, len(self.requests) + 1, writer)
                self.requests.append(exchange)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self.respond(exchange)
                finally:
                    self.in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def misbehaving(respond: Callable[[Exchange], Awaitable[None]]) -> Iterator[MisbehavingServer]:
    server = MisbehavingServer(respond)
    try:
        yield server
    finally:
        server.close()
