"""The verb ``learn mah-dpo``, and a folder of heads in the verbs that decode, on a tiny random model."""

import json

import pytest

import pluralign as pl
from pluralign.core.files import read_json
from pluralign.folders.card import load_card
from pluralign.folders.heads import load_heads

NAMES = ("lively", "calm")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pairs of two objectives, and their heads."""
    from pluralign.cli import main

    folder = tmp_path_factory.mktemp("made")
    for name, (good, bad) in zip(NAMES, ("!.", ".!"), strict=True):
        rows = [{"prompt": f"Say {i}:", "chosen": f" {i}{good}", "rejected": f" {i}{bad}"} for i in range(24)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as ended:
        main(
            ["learn", "mah-dpo", "--data", *(f"{n}={folder / f'{n}.jsonl'}" for n in NAMES), "--model",
             "tiny-random", "--out", str(folder / "heads"), "--training.bf16", "False", "--config.rank", "4",
             "--training.learning-rate", "1e-2"]
        )  # fmt: skip
    assert not ended.value.code
    return folder


def test_it_writes_heads_with_the_data_of_each_objective(made):
    card = load_card(made / "heads", "objective_heads")
    assert card.method == "mah-dpo"
    assert card.config["trunk"] == "frozen"
    assert card.data["objectives"].keys() == set(NAMES)
    assert {f"validation_accuracy_{name}" for name in NAMES} <= card.figures.keys()
    assert load_heads(made / "heads").heads["calm"].up.shape[1] == 4


def test_a_sweep_takes_the_folder_for_all_objectives_and_says_why_there_are_no_soups(run, made, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Say x:"}\n{"prompt": "Say y:"}\n')
    for name in NAMES:
        pl.fit_reward(
            pl.load_pairs(str(made / f"{name}.jsonl"), name), model="tiny-random", out=tmp_path / f"rm-{name}"
        )
    other = {"label": "the same heads", "folders": dict.fromkeys(NAMES, str(made / "heads"))}
    (tmp_path / "sides.json").write_text(json.dumps({"others": [other]}))
    code = run(
        "sweep", "--sides", tmp_path / "sides.json", "--policies", made / "heads", "--prompts",
        tmp_path / "prompts.jsonl", "--rewards",
        *(f"{n}={tmp_path / f'rm-{n}'}" for n in NAMES), "--model", "tiny-random", "--steps", "2",
        "--max-new-tokens", "3", "--dtype", "float32", "--baselines", "soups", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    found = read_json(tmp_path / "out" / "report.json")
    report = json.dumps(found)
    assert [side["label"] for side in found["sides"][:2]] == ["steered (geometric mean)", "the same heads"]
    assert found["sides"][1]["points"] == found["sides"][0]["points"]
    assert found["sides"][1]["first_leads_by"]["mean"] == 0
    assert "steered (geometric mean)" in report
    assert "Rewarded soups left out" in report
    assert '"rewarded soups"' not in report


def test_what_cannot_read_heads_refuses_them(refuses, made, tmp_path):
    heads = made / "heads"
    out = ("--out", tmp_path / "out")
    pairs = ("--data", made / "calm.jsonl")
    kind = "heads of several objectives on one model"
    assert kind in refuses("export", heads, *out)
    assert kind in refuses("score", "--model", f"closed-form:{heads}", *pairs, *out)
    assert "expected NAME=FILE" in refuses("learn", "mah-dpo", "--data", made / "calm.jsonl", *out)
    assert "expected NAME=DIR" in refuses("serve", "--policies", made, "--model", "tiny-random")
    assert "is given twice" in refuses(
        "serve", "--policies", heads, f"calm={heads}", "--model", "tiny-random"
    )
    message = refuses("learn", "mah-dpo", *pairs[:1], f"calm={pairs[1]}", "--config.trunk", "joint", *out)
    assert "'lora_rank': joint training changes the trunk by an adapter" in message
    assert not (tmp_path / "out").exists()
