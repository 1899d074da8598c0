"""From demonstrations to a reward, on the command line; and what becomes of strange prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from json_lines import rows_of, write

from pluralign.core.resumable import RowsInProgress
from pluralign.lm.backbone import load_backbone
from pluralign.lm.trunk import context_length

sys.path.insert(0, str(Path(__file__).parents[1] / "collect"))
from collect_fakes import failed, serving

FLOAT = ("--dtype", "float32")
MODEL = "tiny-random"
QUICK = (
    "--model",
    MODEL,
    "--training.epochs",
    "2",
    "--training.learning-rate",
    "3e-3",
    "--training.bf16",
    "False",
)
WORDS = [a + b for a in "abcde" for b in "klmn"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Demonstrations, a policy of them, samples before and after, pairs and a reward."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("place")
    data = write(folder / "shown.jsonl", [{"prompt": f"Say {w}:", "completion": f" {w}!"} for w in WORDS])
    draw = (
        "generate",
        "--prompts",
        data,
        "--samples",
        3,
        "--max-new-tokens",
        5,
        "--dtype",
        "float32",
        "--out",
    )
    for arguments in (
        ("learn", "sft", "--data", data, "--out", folder / "sft", *QUICK),
        (*draw, folder / "init.jsonl", "--model", MODEL),
        (*draw, folder / "sft.jsonl", "--model", folder / "sft"),
        ("pair", "recipe", "--recipe", "init-sft", "--init", folder / "init.jsonl", "--sft",
         folder / "sft.jsonl", "--model", MODEL, "--out", folder / "pairs.jsonl"),
        ("learn", "discriminator", "--data", folder / "pairs.jsonl", "--out", folder / "reward", *QUICK),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        assert not ended.value.code, arguments
    return folder


def test_the_folder_says_what_it_is(place):
    card = json.loads((place / "reward" / "card.json").read_text())
    assert card["method"] == "discriminator"
    assert card["objective"] == "sft"
    assert card["figures"]["validation_accuracy"] >= 0
    sft = json.loads((place / "sft" / "card.json").read_text())
    assert sft["data"]["demonstrations"] + sft["data"]["validation_demonstrations"] <= len(WORDS)
    assert sft["figures"]["validation_nll"] > 0
    header = json.loads((place / "pairs.jsonl").read_text().splitlines()[0])
    assert header["recipe"] == "init-sft"
    assert header["counts"]["pairs"] + header["counts"]["identical"] + header["counts"]["unmatched"] > 20


def test_every_row_says_how_it_was_drawn(place):
    rows = rows_of(place / "init.jsonl")
    assert len(rows) == 3 * len(WORDS)
    assert [row["sample"] for row in rows[:4]] == [0, 1, 2, 0]
    assert {"model": MODEL, "temperature": 1.0, "max_new_tokens": 5, "seed": 0}.items() <= rows[0].items()


@pytest.mark.parametrize("recipe", ["init-demo", "sft-demo"])
def test_the_other_recipes(place, recipe, run, tmp_path, capsys):
    sources = {
        "--init": place / "init.jsonl",
        "--sft": place / "sft.jsonl",
        "--demonstrations": place / "shown.jsonl",
    }
    named = [part for pair in sources.items() for part in pair]
    out = tmp_path / "pairs.jsonl"
    assert (
        run("pair", "recipe", "--recipe", recipe, *named, "--model", MODEL, "--per-prompt", 1, "--out", out)
        == 0
    )
    assert f"{len(WORDS)} pairs" in capsys.readouterr().out
    assert run("learn", "dpo", "--data", out, "--out", tmp_path / "dpo", *QUICK) == 0


def test_a_recipe_without_its_sources_is_told(place, refuses, tmp_path):
    told = refuses("pair", "recipe", "--recipe", "init-sft", "--init", place / "init.jsonl", "--model", MODEL,
                   "--out", tmp_path / "p.jsonl")  # fmt: skip
    assert "field 'sft': required for the recipe init-sft" in told
    other = write(tmp_path / "other.jsonl", [{"prompt": "else", "completion": "x"}])
    told = refuses("pair", "recipe", "--recipe", "init-sft", "--init", place / "init.jsonl", "--sft", other,
                   "--model", MODEL, "--out", tmp_path / "p.jsonl")  # fmt: skip
    assert "give no pairs" in told
    assert not (tmp_path / "p.jsonl").exists()


def test_any_reward_scores_samples(place, run, tmp_path):
    members = (place / "reward", f"closed-form:{place / 'sft'}")
    assert run("learn", "ensemble", "--members", *members, "--data", place / "sft.jsonl", "--out",
               place / "both", "--json", tmp_path / "f.json") == 0  # fmt: skip
    scales = json.loads((tmp_path / "f.json").read_text())["scales"]
    assert all(deviation > 0 for _, deviation in scales.values())
    for number, spec in enumerate((*members, place / "both")):
        out = tmp_path / f"{number}.jsonl"
        assert run("score", "--model", spec, "--data", place / "init.jsonl", "--out", out) == 0
        assert all(isinstance(row["rewards"]["completion"]["reward"], float) for row in rows_of(out))


def test_rewards_of_parts_are_a_reward_models_alone(place, refuses, tmp_path):
    told = refuses("score", "--model", f"closed-form:{place / 'sft'}", "--data", place / "init.jsonl",
                   "--out", tmp_path / "s.jsonl", "--spans", "tokens")  # fmt: skip
    assert "only has rewards of whole completions" in told
    assert "is a policy; its reward is closed-form:" in refuses(
        "score", "--model", place / "sft", "--data", place / "init.jsonl", "--out", tmp_path / "s.jsonl"
    )


def test_samples_of_an_empty_completion_are_scored(place, run, tmp_path, capsys):
    data = write(
        tmp_path / "d.jsonl", [{"prompt": "a", "completion": ""}, {"prompt": "a", "completion": "b"}]
    )
    assert run("score", "--model", place / "reward", "--data", data, "--out", tmp_path / "s.jsonl") == 0
    assert "1 empty completions" in capsys.readouterr().out


def test_self_play_ends_the_same_when_interrupted(place, run, tmp_path, monkeypatch):
    spin = ("learn", "spin", "--data", place / "shown.jsonl", *QUICK, "--config.max-new-tokens", 5, "--out")
    assert run(*spin, tmp_path / "whole") == 0
    written, calls = RowsInProgress.finish, []

    def dies(self):
        calls.append(self.path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        written(self)

    monkeypatch.setattr(RowsInProgress, "finish", dies)
    assert run(*spin, tmp_path / "cut") == 130
    assert not (tmp_path / "cut" / "card.json").exists()
    monkeypatch.setattr(RowsInProgress, "finish", written)
    assert run(*spin, tmp_path / "cut") == 0
    for name in ("trunk.safetensors", "rounds/1.jsonl", "rounds/2.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    first, second = (rows_of(tmp_path / "whole" / "rounds" / f"{n}.jsonl") for n in (1, 2))
    assert [row["completion"] for row in first] != [row["completion"] for row in second]


def test_strange_prompts_are_counted(run, tmp_path, capsys):
    long = "x" * (context_length(load_backbone(MODEL).model) + 5)
    chat = [{"role": "user", "content": "hello"}]
    prompts = write(
        tmp_path / "p.jsonl",
        [
            {"prompt": "a"}, {"prompt": ""}, {"prompt": "a"}, {"prompt": long}, {"prompt": chat},
            {"messages": [*chat, {"role": "assistant", "content": "hi"}]}, {"prompt": []},
            {"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: x\n\nAssistant: z"},
            {"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: other\n\nAssistant: z"},
        ],
    )  # fmt: skip
    figures = tmp_path / "f.json"
    out = tmp_path / "g.jsonl"
    generate = (
        "generate",
        "--model",
        MODEL,
        "--prompts",
        prompts,
        "--max-new-tokens",
        3,
        "--dtype",
        "float32",
    )
    assert run(*generate, "--out", out, "--json", figures) == 0
    told = capsys.readouterr().out
    for part in (
        "2 duplicate prompts",
        "2 empty prompts",
        "1 rows without a single prompt",
        "1 prompts truncated",
    ):
        assert part in told, part
    counts = json.loads(figures.read_text())
    assert counts == {
        "rows": 9, "repeated": 2, "empty": 2, "unusable": 1, "cut": 1, "prompts": 4, "completions": 4,
    }  # fmt: skip
    assert [row["prompt"] for row in rows_of(out)] == ["a", long, chat, "\n\nHuman: x\n\nAssistant:"]
    assert run(*generate, "--out", tmp_path / "two.jsonl", "--limit", 2) == 0
    assert rows_of(tmp_path / "two.jsonl") == rows_of(out)[:2]


@pytest.mark.parametrize("samples", [3, 300])
def test_an_interrupted_draw_goes_on(samples, run, tmp_path, monkeypatch):
    prompts = write(tmp_path / "p.jsonl", [{"prompt": f"Say {w}:"} for w in WORDS[: 600 // samples + 1]])
    generate = (
        *("generate", "--model", MODEL, "--prompts", prompts, "--samples", samples, *FLOAT),
        *("--max-new-tokens", 2, "--out"),
    )
    assert run(*generate, tmp_path / "whole.jsonl") == 0
    written = RowsInProgress.write

    def dies(self, rows):
        # The kill comes in the middle of what is written.
        written(self, rows[: len(rows) - 1])
        raise KeyboardInterrupt

    monkeypatch.setattr(RowsInProgress, "write", dies)
    assert run(*generate, tmp_path / "cut.jsonl") == 130
    monkeypatch.setattr(RowsInProgress, "write", written)
    assert run(*generate, tmp_path / "cut.jsonl") == 0
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_an_endpoint_draws(run, refuses, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    chat = [{"role": "user", "content": "hello"}]
    prompts = write(tmp_path / "p.jsonl", [{"prompt": "Once"}, {"prompt": chat}])

    def respond(body, number):
        if "messages" in body:
            message = {"role": "assistant", "content": f"reply {body['seed'] % 7}"}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
        else:
            choice = {"index": 0, "finish_reason": "stop", "text": f"{body['prompt']} more"}
        return (
            200,
            {},
            json.dumps({"id": "x", "object": "y", "created": 0, "model": "m", "choices": [choice]}),
        )

    with serving(respond) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        generate = ("generate", "--model", "openai:m", "--prompts", prompts, "--samples", 2, "--out")
        assert run(*generate, tmp_path / "g.jsonl", "--max-new-tokens", 9, "--temperature", 0.5) == 0
    rows = rows_of(tmp_path / "g.jsonl")
    assert [row["completion"] for row in rows[:2]] == ["Once more"] * 2
    assert all(row["completion"].startswith("reply") for row in rows[2:])
    assert len({body["seed"] for body in server.requests}) == 4
    assert {(body["max_tokens"], body["temperature"]) for body in server.requests} == {(9, 0.5)}
    with serving(lambda body, number: failed(404, "no such model")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert "no such model" in refuses(*generate, tmp_path / "h.jsonl")
    assert not (tmp_path / "h.jsonl").exists()
