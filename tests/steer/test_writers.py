"""Completions of many prompts, written to a file."""

import json

import pytest
from misbehaving_server import misbehaving

from pluralign.core import InputError, SteeringWeights
from pluralign.lm.backbone import load_backbone
from pluralign.lm.decoding import Decoding
from pluralign.lm.endpoint_settings import EndpointSettings
from pluralign.lm.prompts import TEMPLATES
from pluralign.steer import budgeted, writers
from pluralign.steer.budget import Budget
from pluralign.steer.model_rows import ModelRows
from pluralign.steer.writers import open_writer, write_completions
from pluralign.steer.writing import mixture_writer

CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def writer():
    return open_writer("tiny-random", Decoding(5, 0.9, top_k=8, stop=("q",)), dtype="float32")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_completion_depends_on_no_other_prompt_and_the_file_continues(writer, tmp_path, monkeypatch):
    prompts = ["a", CHAT, "c"]
    settings = {"samples": 2, "seed": 3, "columns": {"by": "tiny"}, "shown": False}
    write_completions(writer, prompts, tmp_path / "all.jsonl", **settings)
    found = rows(tmp_path / "all.jsonl")
    assert [(row["prompt"], row["sample"], row["by"]) for row in found] == [
        (prompt, sample, "tiny") for prompt in prompts for sample in (0, 1)
    ]
    write_completions(writer, prompts[1:2], tmp_path / "one.jsonl", **settings)
    assert rows(tmp_path / "one.jsonl") == found[2:4]
    # A run that ends after its first batch continues with the next one.
    monkeypatch.setattr(writers, "_BATCH", 2)
    calls = []

    def draw(prompts, seeds):
        calls.append(len(prompts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return writer.draw(prompts, seeds)

    broken = writers.Writer(writer.template, draw, writer.cut)
    with pytest.raises(KeyboardInterrupt):
        write_completions(broken, prompts, tmp_path / "again.jsonl", **settings)
    assert not (tmp_path / "again.jsonl").exists()
    write_completions(broken, prompts, tmp_path / "again.jsonl", **settings)
    assert calls == [1, 1, 1, 1]
    assert rows(tmp_path / "again.jsonl") == found


@pytest.mark.parametrize("budget", [False, True])
def test_completions_of_other_prompts_are_not_continued(writer, tmp_path, monkeypatch, budget):
    rewards = tmp_path / "rewards.py"
    rewards.write_text("def size(prompts, texts):\n    return [len(text) for text in texts]\n")
    samples = Budget(2, 3, 1e9, {"long": f"function:{rewards}:size"}) if budget else 2
    for module in (writers, budgeted):
        monkeypatch.setattr(module, "_BATCH", 2)
    calls = []

    def draw(prompts, seeds):
        calls.append(prompts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return writer.draw(prompts, seeds)

    broken, out = writers.Writer(writer.template, draw, writer.cut), tmp_path / "draws.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_completions(broken, ["a", "b"], out, samples=samples, shown=False)
    write_completions(broken, ["c", "d"], out, samples=samples, shown=False)
    assert calls[2:] == [["c"], ["d"]]
    found = rows(out)
    write_completions(writer, ["c", "d"], out, samples=samples, shown=False)
    assert found == rows(out)


def test_prompts_that_the_shortest_context_cuts_are_counted(tmp_path):
    short = load_backbone("tiny-random")
    short.model.config.max_position_embeddings = 16
    rows = ModelRows({"long": load_backbone("tiny-random"), "short": short})
    template = TEMPLATES["chat"](rows.backbone.tokenizer, False)
    mixed = mixture_writer(rows, template, SteeringWeights(long=0.5, short=0.5), Decoding(4))
    assert mixed.cut(["word " * 10, "word"]) == 1


def test_stop_texts_end_completions(writer):
    (texts,) = writer.draw(["a"], [list(range(40))])
    plain = open_writer("tiny-random", Decoding(5, 0.9, top_k=8), dtype="float32")
    assert texts == [text.split("q")[0] for text in plain.draw(["a"], [list(range(40))])[0]]


def test_what_is_refused(writer, tmp_path):
    with pytest.raises(InputError, match=r"samples.*must be at least 1, found 0"):
        write_completions(writer, ["a"], tmp_path / "f.jsonl", samples=0)
    for decoding in (Decoding(top_k=3), Decoding(min_p=0.1)):
        with pytest.raises(InputError, match="endpoints support temperature only"):
            open_writer("openai:some-model", decoding)
    assert not list(tmp_path.iterdir())


def test_an_endpoint_writes_what_one_request_at_a_time_writes_and_continues(tmp_path):
    prompts = [f"text {i}" for i in range(60)]
    refused, asked = ["text 40"], []

    async def respond(exchange):
        asked.append((exchange.body["prompt"], exchange.body["seed"]))
        if exchange.number % 7 == 0:
            await exchange.error(503, Retry_After="0.01")
        elif exchange.body["prompt"] in refused:
            await exchange.error(400, "no such words")
        else:
            await exchange.text(f"{exchange.body['seed']}", "length")

    with misbehaving(respond) as server:

        def write(out, concurrency):
            endpoint = EndpointSettings((server.url,), concurrency=concurrency)
            opened = open_writer("openai:m", Decoding(4, 0.5), endpoint=endpoint)
            write_completions(opened, prompts, out, samples=3, seed=1, shown=False)

        with pytest.raises(
            InputError,
            match=r"^row 41, field 'prompt': refused .*\(400\): no such words; 1\d\d of 180",
        ):
            write(tmp_path / "many.jsonl", 1)
        asked_first = len(asked)
        refused.clear()
        write(tmp_path / "many.jsonl", 50)
        assert len(asked) - asked_first < 90
        write(tmp_path / "one.jsonl", 1)
    found = rows(tmp_path / "many.jsonl")
    assert found == rows(tmp_path / "one.jsonl")
    assert [(row["prompt"], row["sample"]) for row in found] == [(p, s) for p in prompts for s in range(3)]
    assert {row["finish_reason"] for row in found} == {"length"}
    assert len({row["completion"] for row in found}) == 180
