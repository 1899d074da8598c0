"""Files of completions from Python, as the verb writes them."""

from pathlib import Path

import pytest
from json_lines import rows_of

from pluralign.core import InputError, SteeringWeights
from pluralign.core.messages import DIALOGUE
from pluralign.lm.decoding import Decoding
from pluralign.steer.block_decoder import BlockDecoder
from pluralign.steer.block_guides import Blocks
from pluralign.steer.budget import Budget
from pluralign.steer.generate import Mix, generate_file
from pluralign.steer.policies import load_policies
from pluralign.steer.writing import Writer


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("Say a word:\nSay two:\nSay a word:\n\n")
    return file


@pytest.fixture
def mix():
    return Mix({"kind": "tiny-random", "brief": "tiny-random"}, SteeringWeights(kind=0.5, brief=0.5))


def test_rows_say_how_they_were_sampled(prompts, tmp_path, mix):
    out = tmp_path / "draws.jsonl"
    found = generate_file(
        prompts, out, "tiny-random", Decoding(4, top_k=3), samples=2, seed=7, mix=mix, dtype="float32",
        shown=False,
    )  # fmt: skip
    assert found.lines() == [
        "4 completions of 2 prompts; 1 duplicate prompts used once; 1 empty prompts skipped"
    ]
    assert found.to_json()["completions"] == 4
    for row in rows_of(out):
        assert (row["model"], row["seed"], row["top_k"], row["max_new_tokens"]) == ("tiny-random", 7, 3, 4)
        assert row["weights"] == {"kind": 0.5, "brief": 0.5}
        assert "top_p" not in row


def test_a_policy_of_weight_zero_is_not_loaded(prompts, tmp_path, monkeypatch):
    loaded = []

    def load(model, policies, **options):
        loaded.append(dict(policies))
        return load_policies(model, policies, **options)

    monkeypatch.setattr("pluralign.steer.writers.load_policies", load)
    mix = Mix({"kind": "tiny-random", "brief": "tiny-random"}, SteeringWeights(kind=1, brief=0))
    out = tmp_path / "draws.jsonl"
    generate_file(prompts, out, "tiny-random", Decoding(4), mix=mix, dtype="float32", shown=False)
    assert loaded == [{"kind": Path("tiny-random")}]
    assert {tuple(row["weights"].items()) for row in rows_of(out)} == {(("kind", 1.0), ("brief", 0.0))}


def test_completions_of_other_settings_are_not_continued(prompts, tmp_path):
    out, texts = tmp_path / "draws.jsonl", []
    for decoding in (Decoding(4), Decoding(4, top_k=1)):
        generate_file(prompts, out, "tiny-random", decoding, dtype="float32", shown=False)
        texts.append([row["completion"] for row in rows_of(out)])
    assert texts[0] != texts[1]


@pytest.mark.parametrize("kind", ["model", "weights", "chat template", "adapter", "policy"])
def test_completions_of_a_folder_that_has_changed_are_not_continued(prompts, tmp_path, monkeypatch, kind):
    folder, out, drawn = tmp_path / "trained", tmp_path / "draws.jsonl", []
    files = {
        "adapter": "adapter_model.safetensors", "weights": "model.safetensors",
        "chat template": "chat_template.jinja",
    }  # fmt: skip
    file = folder / files.get(kind, "card.json")
    options = {
        **{key: {"model": str(folder)} for key in ("model", "weights", "chat template")},
        "adapter": {"adapter": folder},
        "policy": {"mix": Mix({"kind": folder}, SteeringWeights(kind=1.0))},
    }[kind]

    def draw(asked, seeds):
        if drawn == ["before"]:
            raise KeyboardInterrupt
        drawn.append(file.read_text())
        return [[drawn[-1]] for _ in asked]

    monkeypatch.setattr("pluralign.steer.writers._BATCH", 1)
    monkeypatch.setattr("pluralign.steer.generate._open", lambda *_: Writer(DIALOGUE, draw, len))
    folder.mkdir()
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        generate_file(prompts, out, shown=False, **options)
    file.write_text("after")
    drawn.clear()
    generate_file(prompts, out, shown=False, **options)
    assert [row["completion"] for row in rows_of(out)] == ["after", "after"]


def test_blocks_by_another_function_are_not_continued(prompts, tmp_path, monkeypatch):
    def guided_by(sign):
        # The second function may be where the first one was in memory.
        return Blocks({"long": lambda draft: sign * len(draft.text)}, draws=3, tokens=4)

    def interrupted(self, asked):
        for answer in whole(self, asked):
            yield answer
            raise KeyboardInterrupt

    whole, rows = BlockDecoder.answers, []
    for out in (tmp_path / "draws.jsonl", tmp_path / "fresh.jsonl"):
        if not rows:
            monkeypatch.setattr(BlockDecoder, "answers", interrupted)
            with pytest.raises(KeyboardInterrupt):
                generate_file(prompts, out, "tiny-random", Decoding(8), guides=guided_by(1), shown=False)
            monkeypatch.setattr(BlockDecoder, "answers", whole)
        generate_file(prompts, out, "tiny-random", Decoding(8), guides=guided_by(-1), shown=False)
        rows.append(rows_of(out))
    assert rows[0] == rows[1]
    assert rows[0][0]["guides"] == {"long": "<lambda>"}


def test_what_does_not_go_together_is_refused_before_anything_is_loaded(prompts, tmp_path, mix):
    def refused(field, message, **options):
        with pytest.raises(InputError, match=message) as error:
            generate_file(prompts, tmp_path / "no.jsonl", "no-such-model", shown=False, **options)
        assert error.value.field == field

    both = {"long": lambda prompts, texts: [0.0], "short": lambda prompts, texts: [1.0]}
    budget = Budget(2, 4, 0.1, both)
    refused("context", "budget of samples", context="scored.jsonl")
    refused("context", "one reward", context="scored.jsonl", samples=budget)
    refused("temperature", "the same", samples=budget, decoding=Decoding(temperature=0))
    refused("adapter", "does not apply to policies", mix=mix, adapter=tmp_path)
    refused("base", "does not apply to policies", mix=mix, base="elsewhere")
    with pytest.raises(InputError, match="no policies to mix"):
        generate_file(prompts, tmp_path / "no.jsonl", "openai:m", mix=mix, shown=False)
    with pytest.raises(InputError, match="fast"):
        Mix({"kind": "tiny-random"}, SteeringWeights(fast=1.0))
