"""The verb ``relevance``."""

import json

import pytest

from pluralign.cli import main


def test_factors_and_weights_of_prompts_are_written(tmp_path, capsys):
    prompts, principles, out = (tmp_path / name for name in ("p.jsonl", "o.jsonl", "out.jsonl"))
    prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("Why?", "How far is it?")))
    principles.write_text(
        '{"name": "kind", "description": "It is kind."}\n{"name": "true", "description": "x"}\n'
    )
    given = [
        "relevance",
        "--prompts",
        str(prompts),
        "--principles",
        str(principles),
        "--by",
        "judge:tiny-random",
    ]
    with pytest.raises(SystemExit) as done:
        main([*given, "--weights", "kind=0.5,true=0.5", "--out", str(out)])
    assert done.value.code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["Why?", "How far is it?"]
    for row in rows:
        assert set(row["factors"]) == {"kind", "true"}
        assert all(0.1 <= factor <= 1 for factor in row["factors"].values())
        assert sum(row["weights"].values()) == pytest.approx(1)
    assert "mean factor" in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main([*given, "--weights", "fast=1", "--out", str(out)])
    assert done.value.code == 2
    assert "fast" in capsys.readouterr().err
