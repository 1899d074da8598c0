"""Parts of long prompts are sized by time: running requests get their tokens nearly as often as before."""

import statistics
import time

import pytest
import torch
from adapters import adapted

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import add_lora, save_adapter
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.reading_pace import ReadingPace
from pluralign.steer.requests import Request

STEP = 0.1


class Machine:
    """A machine of which the time passes in passes through the model alone."""

    def __init__(self, monkeypatch, per_token=0.004, per_pass=0.05):
        self.now, self.per_token, self.per_pass, self.sizes = 0.0, per_token, per_pass, []
        read, step = AdapterRows._run, AdapterRows._step

        def run(rows, layout, route, positions, ids):
            if not self._stepping:
                self.sizes.append(ids.shape[1])
                self.now += self.per_pass + self.per_token * ids.shape[1]
            return read(rows, layout, route, positions, ids)

        def stepped(rows, tokens):
            self._stepping = True
            found = step(rows, tokens)
            self._stepping = False
            self.now += STEP
            return found

        self._stepping = False
        monkeypatch.setattr(AdapterRows, "_run", run)
        monkeypatch.setattr(AdapterRows, "_step", stepped)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


@pytest.fixture
def decoder(machine, tmp_path):
    folders = {}
    for seed, name in enumerate(("one", "two")):
        folders[name] = tmp_path / name
        save_adapter(adapted(seed), folders[name])
    rows = AdapterRows(load_backbone("tiny-random"), folders)
    return MixtureDecoder(rows, prefill=512, pace=ReadingPace(lambda: machine.now))


def request(length, tokens=400, seed=0, **fields):
    ids = [5 + (seed + i) % 200 for i in range(length)]
    return Request(ids, SteeringWeights(one=0.5, two=0.5), Decoding(tokens, 1.0), seed, **fields)


def gaps(decoder, machine, first, until):
    """Gaps of a stream until the first event of another request."""
    found, before = [], machine.now
    while True:
        seen = {event.request for event in decoder.step()}
        if first in seen:
            found.append(machine.now - before)
            before = machine.now
        if until in seen:
            return found


@pytest.mark.parametrize("scores", [False, True])
def test_a_part_takes_as_long_as_some_steps(decoder, machine, scores):
    (first,), _ = decoder.admit([request(10)])
    for _ in range(5):
        decoder.step()
    machine.sizes.clear()
    fields = {"alternatives": 0, "prompt_log_probs": True} if scores else {}
    (long,), events = decoder.admit([request(600, tokens=2, seed=1, **fields)])
    assert events == []
    found = gaps(decoder, machine, first, long)
    # Step and part together, at their longest and in most cases.
    assert max(found) <= 4 * STEP
    assert statistics.median(found) >= 2.5 * STEP
    assert max(machine.sizes) <= 50
    assert len(set(machine.sizes)) < 10


def test_without_running_requests_parts_are_as_large_as_allowed(decoder, machine):
    (first,), _ = decoder.admit([request(600, tokens=400)])
    while len(decoder._running) < 1:
        decoder.step()
    assert machine.sizes == [512, 512, 176]
    machine.sizes.clear()
    # Their cost is known now.
    (other,), _ = decoder.admit([request(300, seed=3)])
    found = gaps(decoder, machine, first, other)
    assert max(found) <= 4 * STEP


def test_parts_follow_a_machine_that_becomes_slower_and_faster():
    pace, now = ReadingPace(), {"token": 0.001, "step": 0.1}
    assert pace.tokens(1024) == 32

    def settle():
        for _ in range(20):
            pace.stepped(now["step"])
            pace.has_read(found := pace.tokens(1024), found * now["token"])
        return pace.tokens(1024)

    assert settle() == 224  # 250 tokens in 2.5 steps, rounded down to one of few sizes
    now["token"] = 0.01
    assert settle() == 24
    now["token"] = 1.0
    assert settle() == 16
    now["token"] = 1e-9
    assert settle() == 1024
    assert pace.tokens(100) == 96
    assert pace.tokens(5) == 5
    # One slow step among others changes nothing.
    before = pace.tokens(1024)
    pace.stepped(10.0)
    assert pace.tokens(1024) == before


def test_short_prompts_do_not_wait_for_long_ones(decoder):
    (first,), _ = decoder.admit([request(10)])
    decoder.step()
    (long,), _ = decoder.admit([request(1000, tokens=2, seed=1)])
    decoder.step()
    (short,), _ = decoder.admit([request(60, tokens=2, seed=2)])
    seen = []
    while not {long, short} <= set(seen):
        seen += [event.request for event in decoder.step()]
    assert seen.index(short) < seen.index(long)
    assert seen.index(short) < 12
    assert first in seen


def texts(decoder, requests):
    """Texts of requests of which each arrives after a step of the others."""
    events, found = [], {}
    for one in requests:
        events += decoder.admit([one])[1] + decoder.step()
    while decoder.running:
        events += decoder.step()
    for event in events:
        found[event.request] = found.get(event.request, "") + event.text
    return [found[number] for number in sorted(found)]


def test_texts_do_not_depend_on_the_pace(decoder, machine):
    asked = [request(10, 60), request(300, 20, 1), request(60, 20, 2), request(520, 20, 3)]
    expected = MixtureDecoder(decoder.rows).generate(asked)
    assert texts(decoder, asked) == expected
    machine.per_token, machine.per_pass = 0.0001, 0.0
    assert texts(decoder, asked) == expected


@pytest.mark.slow
def test_a_stream_goes_on_while_a_prompt_of_3900_tokens_arrives(tmp_path):
    """Three policies of SmolLM2-135M; CPU seconds of this thread."""
    for seed in range(3):
        torch.manual_seed(seed)
        save_adapter(add_lora(load_backbone("smollm2-135m").model, 16), tmp_path / str(seed))
    rows = AdapterRows(load_backbone("smollm2-135m"), {name: tmp_path / name for name in "012"})
    rows.cache_prefixes(16_384)
    decoder = MixtureDecoder(rows, prefill=1024, pace=ReadingPace(time.process_time))
    ids = torch.randint(100, 40_000, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    mix = SteeringWeights({"0": 0.4, "1": 0.3, "2": 0.3})
    (first,), _ = decoder.admit([Request(ids[:40], mix, Decoding(3000, 1.0))])
    for _ in range(20):
        decoder.step()
    (long,), _ = decoder.admit([Request(ids[40:3940], mix, Decoding(20, 1.0))])
    found = []
    while long in decoder._prompts.numbers:
        began = time.process_time()
        seen = decoder.step()
        assert first in {event.request for event in seen}
        found.append(time.process_time() - began)
    assert len(found) > 100
    assert max(found) <= 5 * statistics.median(found)
