"""``generate --block`` and ``generate --policies`` on a tiny random model."""

import json

import pytest
from json_lines import rows_of, write
from tiny_heads import write_heads

import pluralign as pl
from pluralign.core.resumable import RowsInProgress
from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.value import fit_value

NAMES = ("kind", "brief")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Prompts, a value model on the frozen trunk, a reward model and heads."""
    folder = tmp_path_factory.mktemp("place")
    write(folder / "prompts.jsonl", [{"prompt": f"Say {word}:"} for word in ("yes", "no", "this")])
    rows = [ScoredCompletion(f"Say {i}:", "ab" * (i % 5), float(i % 5)) for i in range(24)]
    training = pl.Training(epochs=2, learning_rate=1e-2, bf16=False, layers=0)
    fit_value(rows, Run("tiny-random", folder / "value", training))
    pairs = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
    pl.fit_reward(pl.load_pairs(pairs, "agreement"), model="tiny-random", out=folder / "reward")
    write_heads(folder / "heads", NAMES)
    return folder


def generate(place, out, *more):
    return ("generate", "--model", "tiny-random", "--prompts", place / "prompts.jsonl", "--out", out,
            "--max-new-tokens", 8, "--dtype", "float32", *more)  # fmt: skip


def completions(path):
    return [row["completion"] for row in rows_of(path)]


def blocks(place, draws, *more):
    return ("--guides", f"value={place / 'value'}", f"reward={place / 'reward'}", "--block", "tokens",
            "--block-tokens", 3, "--draws", draws, *more)  # fmt: skip


def test_one_draw_is_the_plain_sample_and_rows_say_how_they_were_drawn(place, run, tmp_path):
    for mixture in ((), ("--policies", place / "heads", "--weights", "kind=0.7,brief=0.3")):
        plain, one, three = (tmp_path / f"{name}{len(mixture)}.jsonl" for name in ("plain", "one", "three"))
        assert run(*generate(place, plain, "--samples", 2, *mixture)) == 0
        assert run(*generate(place, one, "--samples", 2, *blocks(place, 1), *mixture)) == 0
        assert completions(one) == completions(plain)
        assert run(*generate(place, three, *blocks(place, 3), *mixture)) == 0
        row = rows_of(three)[0]
        assert (row["block"], row["block_tokens"], row["draws"]) == ("tokens", 3, 3)
        assert row["guides"] == {"value": str(place / "value"), "reward": str(place / "reward")}
        assert row["guide_weights"] == {"value": 0.5, "reward": 0.5}
        assert row["tokens"] < row["drawn"] <= 3 * 8
        assert row.get("policies") == (dict.fromkeys(NAMES, str(place / "heads")) if mixture else None)
        assert ("weights" in row) == bool(mixture)


def test_an_interrupted_run_goes_on(place, run, tmp_path, monkeypatch):
    asked = blocks(place, 2, "--samples", 2)
    assert run(*generate(place, tmp_path / "whole.jsonl", *asked)) == 0
    written, calls = RowsInProgress.write, []

    def dies(self, rows):
        calls.append(rows)
        if len(calls) == 4:
            raise KeyboardInterrupt
        written(self, rows)

    monkeypatch.setattr(RowsInProgress, "write", dies)
    assert run(*generate(place, tmp_path / "cut.jsonl", *asked)) == 130
    monkeypatch.setattr(RowsInProgress, "write", written)
    assert run(*generate(place, tmp_path / "cut.jsonl", *asked)) == 0
    assert rows_of(tmp_path / "cut.jsonl") == rows_of(tmp_path / "whole.jsonl")


def test_messages_are_answered_up_to_the_next_turn(place, run, tmp_path):
    prompts = write(
        tmp_path / "chats.jsonl", [{"prompt": [{"role": "user", "content": word}]} for word in ("a", "b")]
    )
    out = tmp_path / "out.jsonl"
    mixture = ("--policies", place / "heads", "--prompts", prompts)
    assert run(*generate(place, out, *blocks(place, 2), *mixture)) == 0
    assert all(not text.startswith(" ") and "\n\nHuman:" not in text for text in completions(out))


def test_all_weight_on_one_head_is_its_greedy_text_and_a_mixture_is_that_of_python(place, run, tmp_path):
    mix = pl.load_policies("tiny-random", place / "heads", dtype="float32")
    prompts = [row["prompt"] for row in rows_of(place / "prompts.jsonl")]
    alone = {
        name: pl.load_policies("tiny-random", {name: place / "heads"}, dtype="float32") for name in NAMES
    }
    for number, weights in enumerate(({"kind": 1.0}, {"brief": 1.0}, {"kind": 0.6, "brief": 0.4})):
        out = tmp_path / f"{number}.jsonl"
        named = ",".join(f"{name}={weight}" for name, weight in weights.items())
        greedy = ("--temperature", 0, "--policies", place / "heads", "--weights", named)
        assert run(*generate(place, out, *greedy)) == 0
        rows = {"max_new_tokens": 8, "temperature": 0}
        policies = alone[next(iter(weights))] if len(weights) == 1 else mix
        assert completions(out) == policies.generate(prompts, weights=weights, **rows)
        assert rows_of(out)[0]["weights"] == weights
    assert len({json.dumps(completions(tmp_path / f"{number}.jsonl")) for number in range(2)}) == 2


def test_bad_input_is_one_line(place, refuses, tmp_path):
    out, value = tmp_path / "x.jsonl", f"a={place / 'value'}"
    heads = ("--policies", place / "heads")
    for more, told in (
        (("--block", "sentences"), "field 'block': requires --guides"),
        (("--draws", 3), "field 'draws': requires --block"),
        (("--block-tokens", 3), "field 'block_tokens': requires --block"),
        (("--guides", value, "--block", "lines", "--strength", 2), "'strength': does not apply to --block"),
        (("--guides", value, "--block", "lines", "--draws", 0), "field 'draws': must be at least 1"),
        (("--guides", value, "--block", "lines", "--temperature", 0), "'temperature': at 0, the 5 draws"),
        (("--guides", f"a={place / 'heads'}", "--block", "lines"), "heads of several objectives"),
        (("--guide-weights", "a=1"), "field 'guide_weights': requires --policies"),
        ((*heads, "--guide-weights", "a=1"), "field 'guide_weights': requires --guides"),
        ((*heads, "--guides", value), "guide every token of a single model"),
        ((*heads, "--weights", "other=1"), "unknown objective 'other'"),
        ((*heads, "--adapter", tmp_path), "field 'adapter': does not apply to --policies"),
    ):
        assert told in refuses(*generate(place, out, *more))
    endpoint = ("generate", "--model", "openai:x", "--prompts", place / "prompts.jsonl", "--out", out)
    assert "does not provide logits" in refuses(*endpoint, "--guides", value, "--block", "lines")
    assert "an endpoint has no policies" in refuses(*endpoint, *heads)
    assert not out.exists()
