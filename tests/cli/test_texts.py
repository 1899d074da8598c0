"""The verbs on texts, as a person would use them, on a tiny random model."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
from json_lines import rows_of, write
from safetensors.torch import load_file, save_file

from pluralign.core.resumable import RowsInProgress
from pluralign.data.load import load_pairs
from pluralign.folders.card import TRUNK

MODEL = "tiny-random"
ROWS = [
    {"prompt": f"Say {a}{b}:", "chosen": f" {a}{b}!", "rejected": f" {a}{b}."} for a in "abcd" for b in "efgh"
]
METHODS = ["bradley-terry", "bt-variance", "preference-transformer", "ava-p", "ava-d"]
METHODS += ["dpo", "ipo", "simpo", "sft"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "lively.jsonl", ROWS)


@pytest.fixture(scope="module")
def folders(data, tmp_path_factory):
    from pluralign.cli import main

    made = tmp_path_factory.mktemp("made")
    for method in METHODS:
        with pytest.raises(SystemExit) as ended:
            main(
                ["learn", method, "--data", str(data), "--model", MODEL, "--out", str(made / method),
                 "--training.epochs", "1", "--training.learning-rate", "1e-3", "--training.bf16", "False"]
            )  # fmt: skip
        assert not ended.value.code
    return made


@pytest.mark.parametrize("method", METHODS)
def test_learners_write_a_folder_with_a_card(folders, method):
    card = json.loads((folders / method / "card.json").read_text())
    assert card["method"] == method
    assert card["objective"] == "lively"
    assert card["data"]["file"] == "lively.jsonl"
    assert card["seed"] == 0
    assert {"torch", "transformers", "pluralign"} <= set(card["versions"])
    assert card["figures"]["curve"]


def test_accuracy_on_unseen_pairs(folders, data, run, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    model = folders / "bradley-terry"
    assert run("evaluate", "reward", "--model", model, "--data", data, "--json", figures) == 0
    found = json.loads(figures.read_text())
    counts = load_pairs(data, "lively").counts
    assert (found["pairs"], found["split"]) == (counts["pairs_test"], "test")
    assert 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
    assert found["seconds"] > 0
    # What has no card of its own was trained on this data as well.
    specs = [f"closed-form:{folders / 'dpo'}", tmp_path / "both", tmp_path / "exported"]
    members = [folders / "bradley-terry", folders / "ava-p"]
    assert run("learn", "ensemble", "--members", *members, "--data", data, "--out", specs[1]) == 0
    assert run("export", model, "--out", specs[2]) == 0
    for spec in specs:
        assert run("evaluate", "reward", "--model", spec, "--data", data, "--json", figures) == 0
        found = json.loads(figures.read_text())
        assert (found["pairs"], found["split"]) == (counts["pairs_test"], "test")
    other = write(tmp_path / "other.jsonl.gz", ROWS[:5])
    assert run("evaluate", "reward", "--model", model, "--data", other, "--json", figures) == 0
    assert json.loads(figures.read_text())["pairs"] == 5
    assert "accuracy" in capsys.readouterr().out


def test_all_forms_of_data_are_taken(run, tmp_path, capsys):
    dialogues = [
        {"chosen": f"\n\nHuman: {w}\n\nAssistant: yes {w}", "rejected": f"\n\nHuman: {w}\n\nAssistant: no"}
        for w in ("one", "two", "three", "four")
    ]
    dialogues.append({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: c\n\nAssistant: d"})
    dialogues.append(dialogues[0] | {"rejected": dialogues[0]["chosen"]})
    dialogues.append(dialogues[0] | {"rejected": "\n\nHuman: one\n\nAssistant: "})
    messages = [
        {
            "prompt": [{"role": "user", "content": w}],
            "chosen": [{"role": "assistant", "content": f"yes {w}"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for w in ("one", "two", "three", "four")
    ]
    quick = ("--model", MODEL, "--training.epochs", "0.5", "--training.bf16", "False")
    source = write(tmp_path / "dialogues.jsonl.gz", dialogues)
    assert run("learn", "bradley-terry", "--data", source, "--out", tmp_path / "a", *quick) == 0
    told = capsys.readouterr().out
    assert "7 rows" in told
    assert "left out: 1 empty, 1 identical; 1 with two prompts" in told
    source = write(tmp_path / "messages.jsonl", messages)
    assert run("learn", "dpo", "--data", source, "--out", tmp_path / "b", "--template", "chat", *quick) == 0
    assert json.loads((tmp_path / "b" / "card.json").read_text())["template"] == "chat"


def test_scores_of_every_form(folders, run, tmp_path):
    rows = [
        {"prompt": "Say:", "completion": " a!", "mine": 1},
        {"prompt": "Say:", "completions": [" a!", " b. And c?"]},
        {"chosen": "\n\nHuman: x\n\nAssistant: y", "rejected": "\n\nHuman: x\n\nAssistant: z"},
    ]
    out = tmp_path / "scored.jsonl"
    for i, row in enumerate(rows):
        source = write(tmp_path / f"{i}.jsonl", [row])
        model = folders / "ava-p"
        assert run("score", "--model", model, "--data", source, "--out", out, "--spans", "sentences") == 0
        (found,) = rows_of(out)
        assert {key: found[key] for key in row} == row
        assert all(value["sigma"] > 0 and value["sentences"] for value in found["rewards"].values())
    assert run("score", "--model", folders / "bt-variance", "--data", tmp_path / "1.jsonl", "--out", out) == 0
    assert list(rows_of(out)[0]["rewards"]) == ["completions.0", "completions.1"]


def test_an_interrupted_score_goes_on(folders, run, tmp_path, monkeypatch):
    source = write(tmp_path / "rows.jsonl", [{"prompt": f"{i}", "completion": " a"} for i in range(150)])
    arguments = ("score", "--model", folders / "bradley-terry", "--data", source, "--out")
    assert run(*arguments, tmp_path / "whole.jsonl") == 0
    written = RowsInProgress.write

    def dies(self, rows):
        written(self, rows)
        if self.done == 128:
            raise KeyboardInterrupt

    monkeypatch.setattr(RowsInProgress, "write", dies)
    assert run(*arguments, tmp_path / "cut.jsonl") == 130
    assert not (tmp_path / "cut.jsonl").exists()
    monkeypatch.setattr(RowsInProgress, "write", written)
    # A kill can leave half a line.
    with (tmp_path / ".cut.jsonl.partial").open("a") as handle:
        handle.write('{"prompt": "6')
    assert run(*arguments, tmp_path / "cut.jsonl") == 0
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("method", ["ava-p", "ava-d", "dpo", "ipo", "simpo", "sft"])
def test_policies_write(folders, method, run, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("Say ae:\nSay be:\n")
    arguments = ("generate", "--model", folders / method, "--max-new-tokens", "5", "--dtype", "float32")
    assert run(*arguments, "--prompts", prompts, "--samples", "2", "--out", tmp_path / "a.jsonl") == 0
    rows = rows_of(tmp_path / "a.jsonl")
    assert [(row["prompt"], row["sample"]) for row in rows] == [
        ("Say ae:", 0), ("Say ae:", 1), ("Say be:", 0), ("Say be:", 1),
    ]  # fmt: skip
    assert {row["temperature"] for row in rows} == {1.0}
    one = write(tmp_path / "one.jsonl", [{"prompt": "Say ae:"}])
    assert run(*arguments, "--prompts", one, "--out", tmp_path / "b.jsonl") == 0
    assert rows_of(tmp_path / "b.jsonl")[0]["completion"] == rows[0]["completion"]


def test_a_plain_model_writes_and_exports_are_read_back(folders, run, tmp_path):
    chat = write(tmp_path / "chat.jsonl", [{"prompt": [{"role": "user", "content": "hi"}]}])
    arguments = ("generate", "--model", MODEL, "--prompts", chat, "--max-new-tokens", "4")
    assert run(*arguments, "--temperature", "0", "--out", tmp_path / "a.jsonl") == 0
    assert run("export", folders / "bradley-terry", "--out", tmp_path / "classifier") == 0
    assert run("export", folders / "sft", "--out", tmp_path / "model") == 0
    assert run("generate", "--model", tmp_path / "model", "--prompts", chat, "--max-new-tokens", "4",
               "--out", tmp_path / "b.jsonl") == 0  # fmt: skip


def test_bad_data_is_told_with_file_row_and_field(refuses, tmp_path):
    learn = ("learn", "bradley-terry", "--model", MODEL, "--out", tmp_path / "out", "--data")
    assert "no such file" in refuses(*learn, tmp_path / "none.jsonl")
    bad = write(tmp_path / "column.jsonl", [ROWS[0], {"prompt": "x", "chosen": "y"}])
    told = refuses(*learn, bad)
    assert "column.jsonl" in told
    assert "rejected" in told
    broken = tmp_path / "broken.jsonl.gz"
    with gzip.open(broken, "wt") as handle:
        handle.write(json.dumps(ROWS[0]) + "\n{broken\n")
    told = refuses(*learn, broken)
    assert "broken.jsonl.gz:2: not JSON" in told
    whole = write(tmp_path / "whole.jsonl.gz", ROWS)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole.read_bytes()[:-20])
    assert "cut.jsonl.gz" in refuses(*learn, tmp_path / "cut.jsonl.gz")
    same = write(tmp_path / "same.jsonl", [row | {"rejected": row["chosen"]} for row in ROWS])
    assert "no usable preference pair" in refuses(*learn, same)
    odd = write(tmp_path / "odd.jsonl", [ROWS[0] | {"margin": "much"}])
    assert "margin" in refuses(*learn, odd)
    assert not (tmp_path / "out").exists()


def test_bad_settings_are_told(refuses, run, data, tmp_path):
    learn = ("learn", "bradley-terry", "--data", data, "--out", tmp_path / "out", "--model")
    assert "no such model" in refuses(*learn, "./nowhere")
    assert "layers" in refuses(*learn, MODEL, "--training.layers", "9")
    assert "lora_rank" in refuses(*learn, MODEL, "--training.layers", "1", "--training.lora-rank", "2")
    # The parser tells these itself, in a frame.
    assert run(*learn, MODEL, "--training.batch-size", "0") == 2
    assert run(*learn, MODEL, "--training.max-length", "3") == 2
    assert run("learn", "dpo", "--data", data, "--out", tmp_path / "out", "--config.beta", "0") == 2
    assert not (tmp_path / "out" / "card.json").exists()


def test_a_pairs_file_with_an_impossible_weight_is_told(refuses, run, tmp_path):
    from pluralign.core.records import write_records

    pairs = load_pairs(write(tmp_path / "d.jsonl", ROWS[:3]), "lively", split="train")
    source = tmp_path / "pairs.jsonl"
    write_records(source, "pairs", pairs)
    quick = ("--model", MODEL, "--training.epochs", "0.5", "--training.bf16", "False")
    assert run("learn", "sft", "--data", source, "--out", tmp_path / "ok", *quick) == 0
    source.write_text(source.read_text().replace('"weight": 1.0', '"weight": 0.2', 1))
    told = refuses("learn", "sft", "--data", source, "--out", tmp_path / "bad", *quick)
    assert "pairs.jsonl" in told
    assert "weight" in told


def test_folders_of_another_method_are_told(folders, refuses, data, tmp_path):
    told = refuses("evaluate", "reward", "--model", folders / "dpo", "--data", data)
    assert "is a policy; its reward is closed-form:" in told
    prompts = write(tmp_path / "p.jsonl", [{"prompt": "x"}])
    told = refuses(
        "generate", "--model", folders / "bt-variance", "--prompts", prompts, "--out", tmp_path / "g"
    )
    assert "no language policy" in told
    assert "weights tokens" in refuses("export", folders / "ava-p", "--out", tmp_path / "e")
    told = refuses("learn", "sft", "--data", data, "--model", MODEL, "--out", folders / "dpo")
    assert "holds another run" in told
    assert not [path.name for path in tmp_path.iterdir() if path.name != "p.jsonl"]


def test_rewards_that_are_no_numbers_are_told(folders, refuses, data, tmp_path):
    folder = tmp_path / "nan"
    shutil.copytree(folders / "bradley-terry", folder, ignore=shutil.ignore_patterns("checkpoints"))
    tensors = load_file(folder / TRUNK)
    name = next(iter(tensors))
    tensors[name] = tensors[name] * float("nan")
    save_file(tensors, folder / TRUNK)
    card = json.loads((folder / "card.json").read_text())
    import hashlib

    card["files"][TRUNK] = hashlib.sha256((folder / TRUNK).read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    assert "not numbers" in refuses("evaluate", "reward", "--model", folder, "--data", data)
    told = refuses("score", "--model", folder, "--data", data, "--out", tmp_path / "s.jsonl")
    assert "lively.jsonl:1, field 'chosen'" in told
    assert not (tmp_path / "s.jsonl").exists()


def test_bad_rows_to_score_or_complete_are_told(folders, refuses, tmp_path):
    score = ("score", "--model", folders / "bradley-terry", "--out", tmp_path / "s.jsonl", "--data")
    assert "empty" in refuses(
        *score, write(tmp_path / "a.jsonl", [{"prompt": "x", "chosen": " a", "rejected": " "}])
    )
    assert "prompt" in refuses(*score, write(tmp_path / "b.jsonl", [{"completion": "x"}]))
    told = refuses(*score, write(tmp_path / "c.jsonl", [{"prompt": "x", "completion": "y"}, {"prompt": "x"}]))
    assert "c.jsonl:2, field 'completion'" in told
    generate = ("generate", "--model", MODEL, "--out", tmp_path / "g.jsonl", "--prompts")
    assert "holds no prompt" in refuses(*generate, write(tmp_path / "d.jsonl", [{"prompt": ""}]))
    assert "e.jsonl:2, field 'prompt'" in refuses(
        *generate, write(tmp_path / "e.jsonl", [{"prompt": "x"}, {"prompt": 3}])
    )
    assert "samples" in refuses(*generate, write(tmp_path / "f.jsonl", [{"prompt": "x"}]), "--samples", "0")
