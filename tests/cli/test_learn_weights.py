"""`learn weights` as a person would use it, with two reward models on a tiny trunk."""

import json

import pytest
from json_lines import write


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    import pluralign as pl

    made = tmp_path_factory.mktemp("made")
    words = [f"{a}{b}" for a in "abcd" for b in "efgh"]
    for name, (good, bad) in {"lively": ("!", "."), "calm": (".", "!")}.items():
        rows = [{"prompt": f"Say {w}:", "chosen": f" {w}{good}", "rejected": f" {w}{bad}"} for w in words]
        pl.fit_reward(pl.load_pairs(rows, name), model="tiny-random", out=made / name)
    rows = [
        {
            "prompt": f"{'Shout' if loud else 'Whisper'} {w}:",
            "chosen": f" {w}{own}",
            "rejected": f" {w}{other}",
        }
        for w in words
        for loud, own, other in ((True, "!", "."), (False, ".", "!"))
    ]
    write(made / "mixed.jsonl", rows)
    return made


def test_weights_are_learned_and_suggested(data, run, tmp_path, capsys):
    rewards = [f"{name}={data / name}" for name in ("lively", "calm")]
    learn = (
        "learn",
        "weights",
        "--data",
        data / "mixed.jsonl",
        "--rewards",
        *rewards,
        "--model",
        "tiny-random",
    )
    assert run(*learn, "--out", tmp_path / "w", "--json", tmp_path / "figures.json") == 0
    told = capsys.readouterr().out
    assert "best fixed weights" in told
    assert "suggested weights" in told
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["train_learned"] >= figures["train_fixed"]
    from pluralign.steer.suggest import open_weights

    loud, quiet = open_weights(f"auto:{tmp_path / 'w'}").suggest(["Shout ae:", "Whisper ae:"])
    assert loud["lively"] > quiet["lively"]
    assert run(*learn[:-2], "--model", "tiny-random", "--out", data) == 2
    assert run(*learn[:5], rewards[0], "--out", tmp_path / "one") == 2
