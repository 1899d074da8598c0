"""Prompts that begin alike are read once: the same texts, fewer tokens in the model."""

import statistics
import time

import pytest
import torch
from adapters import adapted

from pluralign.core import SteeringWeights
from pluralign.lm.adapters import save_adapter
from pluralign.lm.backbone import load_backbone, merged_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.prefix_cache import BLOCK
from pluralign.steer.adapter_rows import AdapterRows
from pluralign.steer.decoder import MixtureDecoder
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.requests import Request

SYSTEM = [5 + i % 200 for i in range(3 * BLOCK + 10)]
WEIGHTS = ({"one": 0.4, "two": 0.6}, {"one": 1.0}, {"two": 0.5, "base": 0.5})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("one", "two")):
        save_adapter(adapted(seed), place / name)
    return {**{name: place / name for name in ("one", "two")}, "base": None}


def stacked(folders):
    return AdapterRows(load_backbone("tiny-random"), folders)


def whole(folders):
    one = AdapterRows(load_backbone("tiny-random"), {name: folders[name] for name in ("one", "base")})
    return ModelRows({"two": merged_backbone(load_backbone("tiny-random"))}, one)


def asked(turn):
    """Requests of a turn, which share their beginning with each other and with those of other turns."""
    return [
        Request(
            [*SYSTEM, 9 + turn, *range(20, 30 + 40 * i)], SteeringWeights(weights), Decoding(8, 1.0), turn
        )
        for i, weights in enumerate(WEIGHTS)
    ]


def texts(decoder, requests):
    """Texts of requests that are admitted one by one between the tokens of the others."""
    found, names = {}, {}
    events = []
    for i, request in enumerate(requests):
        (number,), new = decoder.admit([request])
        names[number] = i
        events += new + decoder.step()
    while decoder.running:
        events += decoder.step()
    for event in events:
        found[names[event.request]] = found.get(names[event.request], "") + event.text
    return [found[i] for i in range(len(requests))]


def count_tokens(monkeypatch):
    """Tokens that go through any trunk."""
    counts = []
    run = AdapterRows._run

    def counted(self, layout, route, positions, ids):
        counts.append(ids.shape[1])
        return run(self, layout, route, positions, ids)

    monkeypatch.setattr(AdapterRows, "_run", counted)
    return counts


@pytest.mark.parametrize("prefill", [None, 24, 300])
@pytest.mark.parametrize("rows", [stacked, whole])
def test_texts_are_the_same_and_beginnings_are_read_once(folders, rows, prefill, monkeypatch):
    plain = MixtureDecoder(rows(folders), prefill=prefill)
    cached = MixtureDecoder(rows(folders), prefill=prefill)
    cached.rows.cache_prefixes(100 * BLOCK)
    counts = count_tokens(monkeypatch)
    read, expected = {}, {}
    for name, decoder in (("plain", plain), ("cached", cached)):
        for turn in range(3):
            before = sum(counts)
            found = texts(decoder, asked(turn))
            read[name, turn] = sum(counts) - before
            assert found == expected.setdefault(turn, found)
    # All five rows of a turn find the three blocks of the system prompt, or more.
    assert read["plain", 2] - read["cached", 2] >= 5 * 3 * BLOCK


def test_adapters_have_their_own_keys(folders):
    """The same prompt under another policy is not continued from the first one's keys."""
    decoder = MixtureDecoder(stacked(folders))
    decoder.rows.cache_prefixes(100 * BLOCK)
    for name in ("one", "two", "base"):
        request = Request([*SYSTEM, 9], SteeringWeights({name: 1.0}), Decoding(8, 0.0))
        expected = MixtureDecoder(stacked(folders)).generate([request])
        assert decoder.generate([request]) == expected
        assert decoder.generate([request]) == expected


def test_a_cache_that_is_too_small_changes_nothing(folders):
    decoder = MixtureDecoder(stacked(folders))
    for tokens in (BLOCK // 2, BLOCK, 4 * BLOCK):
        decoder.rows.cache_prefixes(tokens)
        for turn in range(3):
            assert texts(decoder, asked(turn)) == texts(MixtureDecoder(stacked(folders)), asked(turn))
            assert decoder.rows._prefixes.tokens <= tokens


@pytest.mark.slow
def test_the_first_token_after_a_known_system_prompt_comes_five_times_sooner():
    rows = AdapterRows(load_backbone("smollm2-135m"), {"base": None})
    rows.cache_prefixes(8192)
    decoder = MixtureDecoder(rows)
    ratios = []
    for turn in range(5):
        system = torch.randint(100, 40_000, (1000,), generator=torch.Generator().manual_seed(turn)).tolist()
        took = []
        for asked in ([700, 701, 702], [800, 801]):
            started = time.process_time()
            decoder.generate([Request([*system, *asked], SteeringWeights(base=1), Decoding(1, 0.0))])
            took.append(time.process_time() - started)
        ratios.append(took[1] / took[0])
    assert statistics.median(ratios) < 0.2
