"""Rewards by an endpoint are those of the folder that it serves, or are refused by name."""

import json
import math
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from misbehaving_server import misbehaving
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    pipeline,
)

import pluralign as pl
from pluralign.core import InputError
from pluralign.core.jsonl import read_rows
from pluralign.data.answers import Answers
from pluralign.evaluate.rewards.score_rows import score_rows
from pluralign.evaluate.rewards.scored import score_sources
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.rewards.endpoint import parse_endpoint
from pluralign.rewards.export import export_folder
from pluralign.rewards.identity import reward_card
from pluralign.rewards.open import load_reward

PROMPTS = ["Say a:", "Say a:", [{"role": "user", "content": "hello"}], "long " * 80, "x <|end|> y", "Say b:"]
COMPLETIONS = [" a!", "", "moon", " b" * 30, " <|end|>", " b" * 300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("served")
    for seed in (0, 1):
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" {w}."} for w in "abcdefgh"]
        training = pl.Training(epochs=3, learning_rate=3e-3, bf16=False, max_length=128)
        pairs = pl.load_pairs(rows, "lively")
        pl.fit_reward(pairs, model="tiny-random", training=training, out=place / f"rm{seed}", seed=seed)
        export_folder(place / f"rm{seed}", place / f"exported{seed}")
    return place


@contextmanager
def served(place, *, change=list, root=None, longest=2048, names=("harmless",), fault=None):
    """A server as vLLM is: it scores token ids by transformers' own classifier."""
    model = AutoModelForSequenceClassification.from_pretrained(place, dtype=torch.float32).eval()

    async def respond(exchange):
        if exchange.path == "/v1/models":
            cards = [{"id": n, "root": str(root or place), "max_model_len": longest} for n in names]
            return await exchange.answer({"data": cards})
        assert exchange.body["use_activation"] is False
        assert exchange.body["model"] in names
        if fault is not None and exchange.number % 3 == 0:
            return await fault(exchange)
        found = []
        for i, ids in enumerate(exchange.body["input"]):
            with torch.inference_mode():
                scores = change(model(torch.tensor([ids])).logits[0].tolist())
            name = "probs" if exchange.path == "/classify" else "data"
            assert name == "probs" or exchange.body["task"] == "classify"
            found.append({"index": i, name: scores, "num_classes": len(scores)})
        return await exchange.answer({"data": found[::-1]})

    with misbehaving(respond) as server:
        server.root = server.url.removesuffix("/v1")
        yield server


@pytest.mark.parametrize("options", ["", "?path=/pooling&model=harmless&concurrency=3"])
def test_rewards_are_those_of_the_trained_folder(folder, options):
    expected = load_reward(folder / "rm0")
    with served(folder / "exported0") as server:
        found = load_reward(f"endpoint:{server.url}{options}")
        scores = found.score(PROMPTS, COMPLETIONS)
    np.testing.assert_allclose(scores, expected.score(PROMPTS, COMPLETIONS), atol=1e-4)
    assert dict(found.counts) == dict(expected.counts)
    assert found.counts["cut_prompts"] > 0 < found.counts["cut_completions"]
    assert found.name == "harmless"
    assert found.template(PROMPTS[2], True) == expected.template(PROMPTS[2], True)


def test_several_servers_share_the_texts_and_one_fails(folder):
    expected = load_reward(folder / "rm0").score(["Say a:"] * 100, [f" {i}" for i in range(100)])

    async def busy(exchange):
        await exchange.error(503, Retry_After="0.05")

    with served(folder / "exported0") as one, served(folder / "exported0", fault=busy) as other:
        found = load_reward(f"endpoint:{one.root},{other.root}/v1")
        scores = found.score(["Say a:"] * 100, [f" {i}" for i in range(100)])
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert min(len(one.requests), len(other.requests)) > 4


def sigmoid(scores):
    return [1 / (1 + math.exp(-s)) for s in scores]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sigmoid, "returns probabilities, not raw scores; export the model again"),
        (lambda scores: [scores[0], 1.0], "returns 2 labels per text; its folder has 1"),
        (lambda scores: [scores[0] + 0.02], "another model, or this one in lower precision"),
        (lambda scores: [float("nan")], "no scores of all texts"),
        (lambda scores: ["a"], "no scores of all texts"),
    ],
)
def test_servers_with_other_scores_are_refused(folder, change, message):
    with served(folder / "exported0", change=change) as server, pytest.raises(InputError, match=message):
        load_reward(f"endpoint:{server.root}")


def test_another_model_is_refused_and_a_known_difference_allowed(folder):
    with served(folder / "exported1", root=folder / "exported0") as server:
        with pytest.raises(InputError, match=r"differ by up to .*exported0: it serves another model"):
            load_reward(f"endpoint:{server.root}")
        assert load_reward(f"endpoint:{server.root}?tolerance=9").name == "harmless"
        assert load_reward(f"endpoint:{server.root}?check=no").name == "harmless"
        spec = f"endpoint:{server.root}?tokenizer={folder / 'exported1'}"
        expected = load_reward(folder / "rm1").score(PROMPTS, COMPLETIONS)
        np.testing.assert_allclose(load_reward(spec).score(PROMPTS, COMPLETIONS), expected, atol=1e-4)


def test_the_model_must_be_served(folder):
    with served(folder / "exported0", names=("a", "b")) as server:
        with pytest.raises(InputError, match="serves a, b; give model=NAME"):
            load_reward(f"endpoint:{server.root}")
        with pytest.raises(InputError, match="serves a, b, not 'c'"):
            load_reward(f"endpoint:{server.root}?model=c")
        assert load_reward(f"endpoint:{server.root}?model=b").name == "b"


def test_a_text_longer_than_the_server_reads_is_refused(folder):
    with served(folder / "exported0", longest=64) as server:
        found = load_reward(f"endpoint:{server.root}")
        assert len(found.score(["Say a:"], [" a"])) == 1
        with pytest.raises(InputError, match=r"128 tokens, and the endpoint .* up to 64; .*len 128"):
            found.score(["long " * 80], [" b"])


def test_a_tokenizer_that_is_elsewhere(folder):
    with (
        served(folder / "exported0", root="/nowhere/at/all") as server,
        pytest.raises(InputError, match="tokenizer=FOLDER"),
    ):
        load_reward(f"endpoint:{server.root}")


def gpt2(place, labels):
    torch.manual_seed(0)
    tokenizer = make_tiny_tokenizer()
    ids = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    size = {"vocab_size": len(tokenizer), "num_labels": labels, "pad_token_id": tokenizer.pad_token_id}
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=96, **size, **ids)
    model = GPT2ForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight, std=1.0)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.mark.parametrize("labels", [1, 2])
def test_other_classifiers_score_as_their_folder_does(tmp_path, labels):
    place = gpt2(tmp_path / "c", labels)
    expected = load_reward(f"classifier:{place}")
    with served(place) as server:
        found = load_reward(f"endpoint:{server.root}")
        scores = found.score(PROMPTS, COMPLETIONS)
        np.testing.assert_allclose(scores, expected.score(PROMPTS, COMPLETIONS), atol=1e-4)
    assert dict(found.counts) == dict(expected.counts)
    probabilities = sigmoid if labels == 1 else lambda s: torch.tensor(s).softmax(0).tolist()
    with served(place, change=probabilities) as server:
        with pytest.raises(InputError, match="look like probabilities"):
            load_reward(f"endpoint:{server.root}")
        assert load_reward(f"endpoint:{server.root}?check=no").name == "harmless"


def test_score_continues_and_equals_the_folder(folder, tmp_path):
    data = tmp_path / "d.jsonl"
    rows = [{"prompt": f"Say {i}:", "completion": f" {i}!"} for i in range(300)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    down = False

    async def fails(exchange):
        if down:
            await exchange.error(400, "out of order")
        else:
            await exchange.error(503, Retry_After="0.01")

    with served(folder / "exported0", fault=fails) as server:
        spec = f"endpoint:{server.root}"
        load_reward(spec)
        down = True
        with pytest.raises(InputError, match=r"refused by the endpoint .*\(400\): out of order"):
            score_rows(spec, str(data), tmp_path / "s.jsonl")
        down = False
        score_rows(spec, str(data), tmp_path / "s.jsonl")
    score_rows(str(folder / "rm0"), str(data), tmp_path / "expected.jsonl")
    found, expected = (
        [row.row["rewards"]["completion"]["reward"] for row in read_rows(tmp_path / name)]
        for name in ("s.jsonl", "expected.jsonl")
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_kept_rewards_belong_to_a_folder(folder, tmp_path):
    exported = folder / "exported0"
    with served(exported) as server:
        spec = f"endpoint:{server.root}"
        for name, again in ((spec, True), (f"{spec}?tokenizer={exported}", False)):
            sources = {"a": [Answers("Say a:", (" a", " b"), "", 1)]}
            for turn in range(2):
                before = len(server.requests)
                score_sources({"r": name}, sources, tmp_path / f"{again}.jsonl", wanted=[("r", "a")])
                assert (len(server.requests) > before) == (turn == 0 or again)


def test_exported_folders_of_before_are_read(folder, tmp_path):
    """Without texts with known rewards and without the problem's type, as 0.1.0 exported."""
    old = shutil.copytree(folder / "exported0", tmp_path / "old")
    (old / "pluralign_probes.json").unlink()
    config = json.loads((old / "config.json").read_text())
    del config["problem_type"]
    (old / "config.json").write_text(json.dumps(config))
    expected = load_reward(folder / "rm0").score(PROMPTS[:2], COMPLETIONS[:2])
    np.testing.assert_allclose(load_reward(old).score(PROMPTS[:2], COMPLETIONS[:2]), expected, atol=1e-4)
    with served(old) as server:
        scores = load_reward(f"endpoint:{server.root}").score(PROMPTS[:2], COMPLETIONS[:2])
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_pipelines_return_raw_scores(folder):
    exported = folder / "exported0"
    expected = load_reward(folder / "rm0").score(["Say a:"], [" a!"])[0]
    classify = pipeline("text-classification", model=str(exported), dtype=torch.float32)
    end = classify.tokenizer.eos_token
    assert classify(f"Say a: a!{end}")[0]["score"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("endpoint:", "expected endpoint:URL"),
        ("endpoint:http://a?path=/score", "must be /classify or /pooling"),
        ("endpoint:http://a?check=maybe", "'check': has no value 'maybe'"),
        ("endpoint:http://a?tolerance=big", "'tolerance'"),
        ("endpoint:http://a?models=x", "unknown option 'models'; known: model, path"),
        ("endpoint:http://a?concurrency=0", "'concurrency'"),
        ("endpoint:localhost:8000", "cannot be used as an endpoint"),
    ],
)
def test_specifications(spec, message):
    with pytest.raises(InputError, match=message):
        load_reward(spec)


def test_a_base_model_does_not_apply():
    with pytest.raises(InputError, match="does not apply to an endpoint"):
        load_reward("endpoint:http://a", model="b")


def test_specifications_name_their_card():
    spec = "endpoint:http://a:1/v1,http://b:2/?model=m&tokenizer=/x/y&retries=2"
    assert parse_endpoint(spec).settings.urls == ("http://a:1", "http://b:2")
    assert parse_endpoint(spec).settings.retries == 2
    assert str(reward_card(spec)) == "/x/y/pluralign_card.json"
