"""How far steering moves answers, by the experiment's own figures, on adapters of a tiny model."""

from __future__ import annotations

import json

import pytest
from adapters import adapted

import pluralign as pl
from pluralign.core.files import read_json, write_json
from pluralign.lm.adapters import save_adapter


def test_text_divergence(script, tmp_path):
    divergence = script("text_divergence")
    for seed in ("1", "2"):
        folder = tmp_path / "policies" / seed
        for number, name in enumerate(("dpo-cheerful-0.001", "dpo-brief-0.001", "modpo-0.5")):
            save_adapter(adapted(number), folder / name)
        for name in ("cheerful", "brief"):
            write_json(folder / f"chosen-{name}.json", {"rate": 0.001})
        write_json(folder / "sweep-cheerful-brief.json", {})
        named = {
            "cheerful": folder / "dpo-cheerful-0.001", "brief": folder / "dpo-brief-0.001",
            "modpo": folder / "modpo-0.5",
        }  # fmt: skip
        mix = pl.load_policies("tiny-random", named)
        prompts = [f"word {number}" for number in range(30)]
        for side, file in divergence.SIDES.items():
            rows = []
            for share in (0.5, 1.0) if side != "MODPO" else (0.5,):
                given = {"cheerful": share, "brief": 1 - share}
                weights = {"modpo": 1.0} if side == "MODPO" else given
                texts = mix.generate(prompts, weights=weights, max_new_tokens=8, temperature=0.7)
                rows += [
                    {"prompt": prompt, "weights": given, "completion": text}
                    for prompt, text in zip(prompts, texts, strict=True)
                    if text
                ]
            path = folder / "sweep-cheerful-brief" / "texts" / f"{file}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    settings = divergence.Settings(
        tmp_path / "policies", tmp_path / "out", "tiny-random", prompts=20, tokens=8, results=tmp_path
    )
    divergence.run(settings)
    cells = read_json(tmp_path / "text_divergence.json")
    found = [(one["side"], one["weights"]["cheerful"]) for one in cells]
    assert found == [("steered (geometric mean)", 0.5), ("steered (geometric mean)", 1.0), ("MODPO", 0.5)]
    for one in cells:
        assert one["seeds"] == 2
        assert 0 < one["answers"] <= 20
        # Bytes of a tiny model are other tokens when they are read again, so the sign is open.
        assert one["kl"]["mean"] == pytest.approx(sum(one["each"]) / 2)
        assert one["kl"]["mean"] != 0
    # At full weight a mixture is its policy alone.
    folder = tmp_path / "policies" / "1"
    alone = pl.load_policies(
        "tiny-random", {"own": folder / "dpo-cheerful-0.001", "base": "tiny-random"}, control_tokens=True
    )
    path = folder / "sweep-cheerful-brief" / "texts" / "steered-geometric-mean.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    mine = [row for row in rows if row["weights"]["cheerful"] == 1.0][: cells[1]["answers"]]
    own, base = pl.log_likelihoods(
        alone, [row["prompt"] for row in mine], [row["completion"] for row in mine],
        weights=[{"own": 1.0}, {"base": 1.0}], temperature=0.7,
        ends=[len(alone.answer_ids(row["completion"], chat=False, ended=False)) < 8 for row in mine],
    )  # fmt: skip
    assert cells[1]["each"][0] == pytest.approx((own - base).mean(), abs=0.05)
    before = (tmp_path / "text_divergence.md").read_bytes()
    divergence.run(settings)
    assert (tmp_path / "text_divergence.md").read_bytes() == before
