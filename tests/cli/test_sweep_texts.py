"""The sweep over prompts, as a person would run it, on a tiny model with two adapters and two rewards."""

from __future__ import annotations

import json
import shutil

import pytest

from pluralign.core import InputError, SteeringWeights
from pluralign.evaluate.sweeps.alternatives import (
    Alternatives,
)
from pluralign.evaluate.sweeps.prompts import sweep
from pluralign.evaluate.sweeps.texts import Side
from pluralign.lm.pretrained import no_loading_bars
from pluralign.rewards.open import load_reward
from pluralign.serve.fronts import read_front

MODEL = "tiny-random"
ENDS = {"lively": ("!", "."), "asking": ("?", ",")}


def sides_file(folder, **sides):
    path = folder / "sides.json"
    path.write_text(json.dumps(sides))
    return path


def fixed(label, folder, **weights):
    return {"label": label, "weights": weights, "folder": str(folder)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two LoRA policies and two reward models, made by the verbs."""
    from pluralign.cli import main

    made = tmp_path_factory.mktemp("made")
    for name, (good, bad) in ENDS.items():
        rows = [
            {"prompt": f"Say {a}{b}:", "chosen": f" {a}{b}{good}", "rejected": f" {a}{b}{bad}"}
            for a in "abcd"
            for b in "efgh"
        ]
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        for method, out, more in (
            ("dpo", name, ("--training.lora-rank", "4", "--training.learning-rate", "5e-3")),
            ("bradley-terry", f"rm-{name}", ("--training.learning-rate", "1e-3")),
        ):
            with pytest.raises(SystemExit) as ended:
                main(
                    ["learn", method, "--data", str(made / f"{name}.jsonl"), "--model", MODEL, "--out",
                     str(made / out), "--training.bf16", "False", *more]
                )  # fmt: skip
            assert not ended.value.code
    prompts = ["Say xy:", "\n\nHuman: Say z.\n\nAssistant:", "What now?"]
    rows = [{"prompt": text} for text in prompts]
    rows.append({"prompt": [{"role": "user", "content": "Say zz."}]})
    (made / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


@pytest.fixture
def options(folders):
    """The verb with all that it needs but --out."""
    return [
        "sweep", "--policies", *(f"{n}={folders / n}" for n in ENDS), "--prompts", folders / "prompts.jsonl",
        "--rewards", *(f"{n}={folders / f'rm-{n}'}" for n in ENDS), "--model", MODEL, "--steps", "2",
        "--max-new-tokens", "6", "--dtype", "float32",
    ]  # fmt: skip


def test_all_sides_are_drawn_scored_and_reported(run, options, folders, tmp_path, capsys):
    out, figures = tmp_path / "out", tmp_path / "figures.json"
    more = (
        "--samples", "2", "--power", "0", "1", "--json", figures, "--sides", sides_file(tmp_path, fixed=[
            fixed("single", folders / "lively", lively=1.0), fixed("single", folders / "asking", asking=1.0),
            fixed("blend", folders / "lively", lively=0.5, asking=0.5),
        ]),
    )  # fmt: skip
    assert run(*options, "--out", out, *more) == 0
    report = json.loads((out / "report.json").read_text())
    assert json.loads(figures.read_text()) == report
    sides = {side["label"]: side for side in report["sides"]}
    assert {label: len(side["points"]) for label, side in sides.items()} == {
        "steered (geometric mean)": 3, "steered (arithmetic mean)": 3, "rewarded soups": 3, "prompting": 3,
        "single": 2, "blend": 1,
    }  # fmt: skip
    texts = {path.stem: [json.loads(x) for x in path.read_text().splitlines()] for path in
             (out / "texts").iterdir()}  # fmt: skip
    assert {name: len(rows) for name, rows in texts.items()} == {
        "steered-geometric-mean": 24, "steered-arithmetic-mean": 24, "rewarded-soups": 24, "prompting": 24,
        "single": 16, "blend": 8, "base": 8,
    }  # fmt: skip

    def told(name, **weights):
        return [row["completion"] for row in texts[name] if row["weights"] == weights]

    # One policy alone writes the same under every name: steered, in a soup, or as it is.
    for one_hot in ({"lively": 1.0, "asking": 0.0}, {"lively": 0.0, "asking": 1.0}):
        own = told("single", **one_hot)
        assert len(own) == 8
        assert told("steered-geometric-mean", **one_hot) == own
        assert told("steered-arithmetic-mean", **one_hot) == own
        assert told("rewarded-soups", **one_hot) == own
    assert told("blend", lively=0.5, asking=0.5) == told("single", lively=1.0, asking=0.0)
    lead = sides["steered (arithmetic mean)"]["first_leads_by"]
    assert lead["low"] <= lead["mean"] <= lead["high"]
    assert sides["steered (geometric mean)"]["first_leads_by"] is None
    assert report["base"]["normalised"] == pytest.approx(dict.fromkeys(ENDS, 0.0))
    page = (out / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "rewarded soups" in page
    assert (out / "picture.svg").read_text().startswith("<svg")
    printed = capsys.readouterr().out
    assert "rewarded soups" in printed
    assert str(out / "report.json") in printed


def test_value_models_are_a_side_of_their_own(run, options, folders, tmp_path):
    drawn = tmp_path / "drawn.jsonl"
    words = [f"Say {a}{b}:" for a in "abcd" for b in "efgh"]
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n")
    assert run("generate", "--model", MODEL, "--prompts", tmp_path / "words.txt", "--samples", "6", "--out",
               drawn, "--max-new-tokens", "4") == 0  # fmt: skip
    for name in ENDS:
        scored = tmp_path / f"{name}.jsonl"
        assert run("score", "--model", folders / f"rm-{name}", "--data", drawn, "--out", scored) == 0
        assert run("learn", "value", "--data", scored, "--out", tmp_path / f"value-{name}", "--model", MODEL,
                   "--training.bf16", "False", "--training.lora-rank", "4") == 0  # fmt: skip
    values = {name: str(tmp_path / f"value-{name}") for name in ENDS}
    guided = [{"strength": strength, "folders": values} for strength in (3, 0)]
    more = ("--baselines", "soups", "--sides", sides_file(tmp_path, guided=guided), "--steps", "1")
    assert run(*options, "--out", tmp_path / "out", *more) == 0
    texts = {
        name: [json.loads(x) for x in (tmp_path / "out" / "texts" / f"{name}.jsonl").read_text().splitlines()]
        for name in ("value-guided-3", "value-guided-0", "base")
    }
    # Strength 0 is the model as it is.
    base = [row["completion"] for row in texts["base"]]
    for share in (0.0, 1.0):
        weights = {"lively": share, "asking": 1 - share}
        unguided, guided = (
            [row["completion"] for row in texts[f"value-guided-{n}"] if row["weights"] == weights]
            for n in (0, 3)
        )
        assert unguided == base
        assert guided != base


def test_the_server_takes_the_report(run, options, tmp_path):
    assert run(*options, "--out", tmp_path, "--baselines", "soups") == 0
    front = read_front(tmp_path / "report.json")
    assert front["objectives"] == list(ENDS)
    assert [point["weights"]["lively"] for point in front["points"]] == [0.0, 0.5, 1.0]
    report = json.loads((tmp_path / "report.json").read_text())
    assert front["points"][0]["returns"] == report["sides"][0]["points"][0]["rewards"]


def test_an_interrupted_run_continues_with_the_same_bytes(run, options, tmp_path, monkeypatch):
    monkeypatch.setattr("pluralign.evaluate.sweeps.sides._ROWS", 6)
    whole = tmp_path / "whole"
    assert run(*options, "--out", whole) == 0
    writers = 0

    class Failing(Side):
        def __init__(self, label, groups, opens, *more):
            super().__init__(label, groups, lambda group: self.limited(opens(group)), *more)

        def limited(self, writer):
            def write(draws):
                nonlocal writers
                writers += 1
                if writers > 5:
                    raise KeyboardInterrupt
                return writer(draws)

            return write

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("pluralign.evaluate.sweeps.sides.Side", Failing)
        assert run(*options, "--out", out) == 130
    partial = out / "texts" / ".rewarded-soups.jsonl.partial"
    assert partial.exists()
    # A kill in the middle of a line.
    partial.write_bytes(partial.read_bytes()[:-7])
    assert run(*options, "--out", out) == 0
    for name in ("texts", "rewards"):
        for path in (whole / name).iterdir():
            assert (out / name / path.name).read_bytes() == path.read_bytes()
    assert (out / "report.html").read_bytes() == (whole / "report.html").read_bytes()
    # And what is whole is not drawn again; another seed is another sweep.
    before = {path: path.stat().st_mtime_ns for path in (out / "texts").iterdir()}
    assert run(*options, "--out", out) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "texts").iterdir()} == before


def test_another_sweeps_folder_is_refused(run, refuses, options, tmp_path):
    assert run(*options, "--out", tmp_path, "--baselines", "soups") == 0
    found = refuses(*options, "--out", tmp_path, "--seed", "1")
    assert "steered-geometric-mean.jsonl: holds texts of another sweep" in found
    # A side that comes later is added.
    before = (tmp_path / "texts" / "rewarded-soups.jsonl").stat().st_mtime_ns
    assert run(*options, "--out", tmp_path) == 0
    assert (tmp_path / "texts" / "prompting.jsonl").exists()
    assert (tmp_path / "texts" / "rewarded-soups.jsonl").stat().st_mtime_ns == before


def test_whole_models_have_soups_too(run, options, folders, tmp_path):
    from pluralign.lm.backbone import load_backbone

    backbone = load_backbone(MODEL)
    with no_loading_bars():
        backbone.model.save_pretrained(tmp_path / "plain")
    backbone.tokenizer.save_pretrained(tmp_path / "plain")
    given = [f"asking={tmp_path / 'plain'}" if o == f"asking={folders / 'asking'}" else o for o in options]
    assert given != options
    assert run(*given, "--out", tmp_path / "out", "--baselines", "soups") == 0
    texts = {p.stem: p.read_text().splitlines() for p in (tmp_path / "out" / "texts").iterdir()}
    base = [json.loads(line)["completion"] for line in texts["base"]]
    soups = [json.loads(line) for line in texts["rewarded-soups"]]
    assert [row["completion"] for row in soups if row["weights"]["asking"] == 1.0] == base
    assert [row["completion"] for row in soups if row["weights"]["asking"] == 0.5] != base


def test_bad_input_is_one_line(refuses, options, folders, tmp_path):
    out = ("--out", tmp_path / "out")
    place = options.index("--rewards")
    others = [*options[: place + 1], *(f"{n}={folders / 'rm-lively'}" for n in ("lively", "terse"))]
    assert "have the objectives lively, terse, but the policies asking, lively" in refuses(
        *others, *options[place + 3 :], *out
    )
    assert "give either a story or prompts" in refuses(*options, *out, "--story", "salt_ledger")
    assert "give either a story or prompts" in refuses(*options[:4], *out)
    story = (*options[:4], "--story", "salt_ledger", *out)
    assert "a sweep on a story takes one power, found 2" in refuses(*story, "--power", "0", "1")
    assert "requires --prompts" in refuses(*story, "--rewards", f"a={tmp_path}")
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"prompt": " "}\n')
    given = [empty if option == folders / "prompts.jsonl" else option for option in options]
    assert "holds no prompt" in refuses(*given, *out)
    assert "expected at least two prompts" in refuses(*options, *out, "--limit", "1")
    unknown = sides_file(tmp_path, fixed=[fixed("a", tmp_path, terse=1)])
    assert "unknown objective 'terse'" in refuses(*options, *out, "--sides", unknown)
    others = sides_file(tmp_path, others=[{"label": "x", "folders": {"lively": "x"}}])
    assert "field 'others': have the objectives lively, but" in refuses(*options, *out, "--sides", others)
    others = sides_file(tmp_path, guided=[{"strength": 1, "folders": {"lively": "x"}}])
    assert "have the objectives lively, but the policies" in refuses(*options, *out, "--sides", others)
    policies = {name: str(folders / name) for name in ENDS}
    wrong = sides_file(tmp_path, guided=[{"strength": 1, "folders": policies}])
    assert "expected a value model" in refuses(*options, *out, "--sides", wrong)
    assert "unknown objective 'terse'" in refuses(*options, *out, "--describe", "terse=short")
    broken = tmp_path / "broken"
    shutil.copytree(folders / "rm-asking", broken)
    (broken / "card.json").unlink()
    given = [f"asking={broken}" if o == f"asking={folders / 'rm-asking'}" else o for o in options]
    assert "holds no finished training" in refuses(*given, "--out", tmp_path / "other")
    assert "no such folder" in refuses(
        *options,
        "--out",
        tmp_path / "third",
        "--sides",
        sides_file(tmp_path, fixed=[fixed("a", tmp_path / "none", lively=1)]),
    )


def test_a_sweep_in_python_is_the_verbs(run, options, folders, tmp_path):
    """Without a folder, with texts in memory and open reward models, the figures are those of the verb."""
    assert run(*options, "--out", tmp_path / "verb", "--baselines", "soups", "--limit", "3") == 0
    prompts = ["Say xy:", "\n\nHuman: Say z.\n\nAssistant:", "What now?"]
    found = sweep(
        {name: folders / name for name in ENDS}, prompts,
        {name: load_reward(folders / f"rm-{name}") for name in ENDS}, model=MODEL, steps=2,
        max_new_tokens=6, dtype="float32", alternatives=Alternatives(["soups"]),
    )  # fmt: skip
    report = json.loads((tmp_path / "verb" / "report.json").read_text())
    own = json.loads((found.save(tmp_path / "own") / "report.json").read_text())
    for part in ("scale", "base", "sides", "sweep"):
        assert own[part] == report[part]
    assert found.hypervolume.mean == report["sides"][0]["hypervolume"]["mean"]
    assert [point.weights for point in found.points] == [
        SteeringWeights(lively=w, asking=1 - w) for w in (0.0, 0.5, 1.0)
    ]
    assert found.front == [found.points[i] for i in report["sides"][0]["front"]]
    assert found.draw(tmp_path / "front.svg").read_text().startswith("<svg")
    with pytest.raises(InputError, match="have the objectives lively, but the policies"):
        sweep({name: folders / name for name in ENDS}, prompts, {"lively": folders / "rm-lively"})
    with pytest.raises(InputError, match="two or more objectives, found 1"):
        sweep({"lively": folders / "lively"}, prompts, {"lively": folders / "rm-lively"})
