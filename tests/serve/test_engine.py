"""The engine alone, on a decoder that only counts."""

import asyncio
import threading

import pytest

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.decoding import Decoding
from pluralign.serve.engine import DecodingEngine
from pluralign.serve.submission import DecodingFailed, QueueFull
from pluralign.steer.requests import Event, Request


class Counting:
    """Tells each request's tokens so far; a prompt that begins with 0 is refused."""

    def __init__(self):
        self.admitted, self.left, self.count = [], {}, 0
        self.go = threading.Event()
        self.go.set()

    @property
    def running(self):
        return tuple(self.left)

    def admit(self, requests):
        self.go.wait(10)
        if any(request.prompt_ids[0] == 0 for request in requests):
            raise InputError("the prompt begins with 0")
        self.admitted.append([request.prompt_ids[0] for request in requests])
        numbers = list(range(self.count, self.count + len(requests)))
        self.count += len(requests)
        for number, request in zip(numbers, requests, strict=True):
            self.left[number] = [request.prompt_ids[0], request.decoding.max_new_tokens, 0]
        return numbers, self.step(numbers)

    def step(self, numbers=None):
        events = []
        for number in list(self.left if numbers is None else numbers):
            name, most, told = self.left[number]
            self.left[number][2] = told + 1
            ended = told + 1 == most
            events.append(Event(number, f"{name} ", told + 1, "length" if ended else None))
            if ended:
                del self.left[number]
        return events

    def release(self, numbers):
        for number in numbers:
            self.left.pop(number, None)


def request(name, tokens=3, length=1):
    return Request([name] * length, SteeringWeights(a=0.5, b=0.5, c=0.0), Decoding(tokens))


def run(story, **settings):
    """Runs a coroutine beside an engine; what it gives, and the decoder."""
    decoder = Counting()
    engine = DecodingEngine(decoder, **settings)

    async def main():
        engine.start()
        try:
            return await asyncio.wait_for(story(engine, decoder), 10)
        finally:
            await asyncio.to_thread(engine.stop)

    return asyncio.run(main()), decoder


async def texts(batch):
    found = {}
    async for place, event in batch.events(10):
        found[place] = found.get(place, "") + event.text
    return [found[place] for place in sorted(found)]


@pytest.mark.parametrize(
    ("settings", "admitted"),
    [
        ({}, [[1, 2, 3, 4, 5]]),
        ({"running": 2}, [[1, 2], [3, 4], [5]]),
        # Two policies with weight read prompts of 4 tokens: 8 for each request.
        ({"prefill": 16}, [[1, 2], [3, 4], [5]]),
        ({"prefill": 1}, [[1], [2], [3], [4], [5]]),
    ],
)
def test_those_who_wait_are_admitted_together(settings, admitted):
    async def story(engine, decoder):
        decoder.go.clear()
        # The engine is held up with this one while the others come.
        before = engine.submit([request(9, tokens=1)])
        while not engine.running:
            await asyncio.sleep(0.001)
        batches = [engine.submit([request(i, length=4)]) for i in range(1, 6)]
        decoder.go.set()
        return [await texts(batch) for batch in (before, *batches)]

    found, decoder = run(story, **settings)
    assert found == [["9 "], *([f"{i} " * 3] for i in range(1, 6))]
    assert decoder.admitted == [[9], *admitted]


def test_samples_of_one_prompt_are_admitted_together():
    async def story(engine, decoder):
        decoder.go.clear()
        before = engine.submit([request(9, tokens=1)])
        while not engine.running:
            await asyncio.sleep(0.001)
        # Two policies read 4 tokens, once for all samples.
        batch = engine.submit([request(1, length=4), request(1, length=4), request(1, length=4)])
        decoder.go.set()
        return [await texts(batch) for batch in (before, batch)]

    _, decoder = run(story, prefill=8)
    assert decoder.admitted == [[9], [1, 1, 1]]


def test_one_that_is_refused_leaves_the_others(capsys):
    async def story(engine, decoder):
        decoder.go.clear()
        good, bad, other = (engine.submit([request(name)]) for name in (1, 0, 2))
        decoder.go.set()
        with pytest.raises(InputError, match="begins with 0"):
            await texts(bad)
        return await texts(good), await texts(other)

    found, _ = run(story)
    assert found == (["1 1 1 "], ["2 2 2 "])


def test_a_batch_that_is_cancelled_while_it_waits_never_runs():
    async def story(engine, decoder):
        first = engine.submit([request(1, tokens=10**9)])
        while not engine.running:
            await asyncio.sleep(0.001)
        second = engine.submit([request(2), request(3)])
        assert engine.waiting == 2
        engine.cancel(second)
        engine.cancel(first)
        while engine.running or engine.waiting:
            await asyncio.sleep(0.001)
        third = await texts(engine.submit([request(4)]))
        engine.cancel(first)
        return third

    found, decoder = run(story, running=1)
    assert found == ["4 4 4 "]
    assert decoder.admitted == [[1], [4]]
    assert not decoder.left


def test_room_is_counted():
    async def story(engine, decoder):
        decoder.go.clear()
        batch = engine.submit([request(1), request(2)])
        with pytest.raises(QueueFull):
            engine.submit([request(3), request(4)])
        last = engine.submit([request(5)])
        with pytest.raises(QueueFull):
            engine.submit([request(6)])
        # Those that come again have twice the queue.
        returned = [engine.submit([request(7)], again=True) for _ in range(2)]
        with pytest.raises(QueueFull):
            engine.submit([request(8)], again=True)
        decoder.go.set()
        return await texts(batch), await texts(last), [await texts(one) for one in returned]

    found, _ = run(story, running=1, queue=2)
    assert found == (["1 1 1 ", "2 2 2 "], ["5 5 5 "], [["7 7 7 "]] * 2)


def test_the_end_is_told_to_all():
    async def story(engine, decoder):
        batches = [engine.submit([request(name, tokens=10**9)]) for name in (1, 2)]
        while not engine.running:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(engine.stop)
        for batch in batches:
            with pytest.raises(DecodingFailed, match="shutting down"):
                await texts(batch)
        with pytest.raises(DecodingFailed, match="shutting down"):
            engine.submit([request(3)])

    run(story, running=1)


def test_events_come_in_time_or_not_at_all():
    async def story(engine, decoder):
        decoder.go.clear()
        batch = engine.submit([request(1)])
        with pytest.raises(TimeoutError):
            await anext(batch.events(0.05))
        decoder.go.set()

    run(story)
