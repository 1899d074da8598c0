"""``generate`` with a range of samples, on a tiny random model."""

import json

import pytest
from json_lines import rows_of, write

import pluralign as pl
from pluralign.data.examples import ScoredCompletion
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.value import fit_value
from pluralign.lm.decoding import Decoding
from pluralign.steer.budget import Budget
from pluralign.steer.prompt_prior import load_prompt_value
from pluralign.steer.writers import open_writer, write_completions

WORDS = ("yes", "no", "this", "that")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Prompts, two reward models and a value model."""
    folder = tmp_path_factory.mktemp("place")
    write(folder / "prompts.jsonl", [{"prompt": f"Say {word}:"} for word in WORDS])
    heads = pl.Training(layers=0, learning_rate=0.1, bf16=False)
    for name, chosen in (("kind", " yes"), ("brief", " no")):
        pairs = [{"prompt": f"Say {i}:", "chosen": chosen, "rejected": " well"} for i in range(8)]
        pl.fit_reward(pl.load_pairs(pairs, name), model="tiny-random", training=heads, out=folder / name)
    rows = [ScoredCompletion(f"Say {i}:", "ab" * (i % 5), float(i % 5)) for i in range(24)]
    fit_value(rows, Run("tiny-random", folder / "value", heads))
    return folder


def generate(place, out, *more):
    return ("generate", "--model", "tiny-random", "--prompts", place / "prompts.jsonl", "--out", out,
            "--max-new-tokens", 6, "--dtype", "float32", *more)  # fmt: skip


def test_each_prompt_gets_the_samples_that_are_worth_their_price(place, run, tmp_path, capsys):
    out, figures = tmp_path / "few.jsonl", tmp_path / "figures.json"
    budget = ("--samples", "2..7", "--price", 0.1, "--rewards", f"kind={place / 'kind'}")
    assert run(*generate(place, out, *budget, "--json", figures)) == 0
    rows, found = rows_of(out), json.loads(figures.read_text())
    drawn = {row["prompt"]: row["samples_drawn"] for row in rows}
    assert found["completions"] == len(rows) == sum(drawn.values())
    assert found["mean_samples"] == len(rows) / len(WORDS)
    assert 2 <= min(drawn.values()) < max(drawn.values())
    assert f"wrote {out}  ({len(rows)} completions of 4 prompts)" in (said := capsys.readouterr().out)
    assert f"samples of a prompt: {min(drawn.values())} to {max(drawn.values())}" in said
    assert rows[0]["reward_models"] == {"kind": str(place / "kind")}
    # What `score` says of the same file, and what `choose` makes of it.
    assert run("score", "--model", place / "kind", "--data", out, "--out", tmp_path / "scored.jsonl") == 0
    scored = [row["rewards"]["completion"]["reward"] for row in rows_of(tmp_path / "scored.jsonl")]
    assert [row["reward"] for row in rows] == pytest.approx(scored, abs=1e-6)
    chosen = tmp_path / "chosen.jsonl"
    assert run("choose", "--completions", out, "--rewards", f"kind={place / 'kind'}", "--weights", "kind=1",
               "--out", chosen) == 0  # fmt: skip
    best = [(row["prompt"], row["sample"]) for row in rows if row["best"]]
    assert [(row["prompt"], row["sample"]) for row in rows_of(chosen)] == best
    known = ("--samples", "3..7", *budget[2:], "--reward-distribution", "samples")
    assert run(*generate(place, tmp_path / "known.jsonl", *known)) == 0
    assert {row["reward_distribution"] for row in rows_of(tmp_path / "known.jsonl")} == {"samples"}
    # A sample that nothing is worth.
    assert run(*generate(place, out, *budget[:3], 1e6, *budget[4:])) == 0
    assert len(rows_of(out)) == 8


def test_with_weights_and_guided_blocks(place, run, tmp_path):
    both = (
        "--samples",
        "2..5",
        "--price",
        0.2,
        "--rewards",
        f"kind={place / 'kind'}",
        f"brief={place / 'brief'}",
    )
    out = tmp_path / "a.jsonl"
    blocks = ("--guides", f"value={place / 'value'}", "--block", "tokens", "--draws", 2, "--block-tokens", 3)
    assert run(*generate(place, out, *both, "--reward-weights", "kind=0.7,brief=0.3", *blocks)) == 0
    row = rows_of(out)[0]
    assert row["reward_weights"] == {"kind": 0.7, "brief": 0.3}
    assert list(row["rewards"]) == ["kind", "brief"]
    assert row["tokens"] < row["drawn"]


def test_the_command_draws_what_python_draws_with_the_priors_of_a_context(place, run, tmp_path):
    out, kind = tmp_path / "a.jsonl", place / "kind"
    # The context: plain samples of other prompts, scored by the same reward.
    write(tmp_path / "others.jsonl", [{"prompt": f"Say {i}{i}:"} for i in range(6)])
    drawn, context = tmp_path / "drawn.jsonl", tmp_path / "context.jsonl"
    other = generate(place, drawn)
    assert run(*other[:4], tmp_path / "others.jsonl", *other[5:]) == 0
    assert run("score", "--model", kind, "--data", drawn, "--out", context) == 0
    options = ("--samples", "2..9", "--price", 0.15, "--rewards", f"kind={kind}")
    known = ("--context", context, "--context-model", "tiny-random")
    assert run(*generate(place, out, *options, *known)) == 0
    found = rows_of(out)
    prompts = [f"Say {word}:" for word in WORDS]
    prior = load_prompt_value(context, "tiny-random").predict(prompts)
    budget = Budget(2, 9, 0.15, {"kind": kind}, prior=prior)
    writer = open_writer("tiny-random", Decoding(6), dtype="float32")
    counts = write_completions(writer, prompts, tmp_path / "b.jsonl", samples=budget, shown=False)
    assert [row | {"reward": 0} for row in rows_of(tmp_path / "b.jsonl")] == [
        {key: row[key] for key in rows_of(tmp_path / "b.jsonl")[0]} | {"reward": 0} for row in found
    ]
    assert run(*generate(place, out, *options)) == 0
    alone = {row["prompt"]: row["samples_drawn"] for row in rows_of(out)}
    assert list(alone.values()) != counts


def test_what_does_not_go_together_is_refused_by_name(place, refuses, tmp_path):
    out = tmp_path / "out.jsonl"
    rewards = ("--rewards", f"kind={place / 'kind'}")
    priced = ("--price", 0.1, *rewards)
    both = ("--price", 0.1, *rewards, f"brief={place / 'brief'}")
    known = ("--context", place / "prompts.jsonl")
    for options, message in (
        (("--samples", "2..4", *rewards), "field 'samples': a range of samples requires the --price of one"),
        (("--samples", "2..4", "--price", 0.1), "field 'samples': a range of samples requires --rewards"),
        (("--samples", 4, "--price", 0.1), "field 'price': requires a range of samples, such as"),
        (rewards, "field 'rewards': requires a range of samples"),
        (("--reward-weights", "kind=1"), "field 'reward_weights': requires a range of samples"),
        (("--reward-distribution", "samples"), "field 'reward_distribution': requires a range of samples"),
        (
            ("--samples", "2..4", *priced, "--reward-distribution", "samples"),
            "field 'samples': must begin with 3 or more for the distribution of samples, found 2..4",
        ),
        (known, "field 'context': requires a range of samples"),
        (("--context-model", "tiny-random"), "field 'context_model': requires a range of samples"),
        (("--samples", "8..4", *priced), "field 'samples': expected a range in ascending order, found 8..4"),
        (("--samples", "4..4", *priced), "ascending order, found 4..4"),
        (("--samples", "1..4", *priced), "field 'samples': must begin with 2 or more"),
        (
            ("--samples", "4..", *priced),
            "field 'samples': expected a number, or a range such as 4..32, found",
        ),
        (("--samples", "-1", *priced), "expected a number, or a range"),
        (("--samples", "2..4", "--price", 0, *rewards), "field 'price': must be above 0 and finite, found 0"),
        (("--samples", "2..4", *priced, "--temperature", 0), "field 'temperature': at 0, all samples"),
        (("--samples", "2..4", *priced, "--context-model", "x"), "field 'context_model': requires --context"),
        (("--samples", "2..4", *both, *known), "field 'context': holds values of one reward"),
        (("--samples", "2..4", *both, "--reward-weights", "sad=1"), "'sad'"),
        (
            ("--samples", "2..4", *priced, "--context", place / "prompts.jsonl"),
            "prompts.jsonl:1, field 'completion': is missing",
        ),
    ):
        assert message in refuses(*generate(place, out, *options)), options
    assert not out.exists()
