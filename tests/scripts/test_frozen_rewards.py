"""The experiments with rewards on frozen features, in small."""

import gzip
import json

import numpy as np
import pytest
from small_data import moral_case

from pluralign.core.files import read_json
from pluralign.learn.texts.weights_head import WeightsConfig


@pytest.fixture
def folder(data, script):
    """The folder of data sets, with MoralChoice."""
    script("moralchoice")
    from moralchoice_lib.data import RULES

    (data / "moralchoice").mkdir(exist_ok=True)
    for name in ("low", "high"):
        rows = [moral_case(name, number, RULES) for number in range(12)]
        with gzip.open(data / "moralchoice" / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(row) + "\n" for row in rows)
    return data


def test_suggested_weights(script, folder, tmp_path, monkeypatch):
    suggested = script("suggested_weights")
    labels = {
        "choice": WeightsConfig(penalties=(1.0,)),
        "softmax": WeightsConfig("softmax", penalties=(1.0,)),
    }
    for module in ("helpful_harmless", "moral", "tables"):
        monkeypatch.setattr(f"suggested_lib.{module}.LABELS", labels)
    monkeypatch.setattr("suggested_lib.moral._FOLDS", 2)
    settings = suggested.Settings(
        folder,
        tmp_path / "out",
        tmp_path / "features",
        "tiny-random",
        suggested.Limits(prompts=2),
        2,
        1,
        tmp_path,
    )
    suggested.run(settings)
    found = read_json(tmp_path / "suggested_weights.json")
    ways = found["hh_rlhf"]["ways"]
    assert ways["best fixed weights"]["minus_fixed"]["mean"] == 0
    assert all(0 <= value <= 1 for value in ways["choice"]["area"])
    assert 0 <= found["moralchoice"]["labels of rules as rewards"]["choice"]["named"]["mean"] <= 1
    assert "MoralChoice" in (tmp_path / "suggested_weights.md").read_text()


def test_conflict_and_ceilings(script, data, tmp_path):
    conflict, ceilings = script("conflict"), script("ceilings")
    common = {
        "data": data, "features": tmp_path / "features", "model": "tiny-random",
        "limits": conflict.Limits(prompts=2), "tokens": 4, "seeds": 2, "results": tmp_path,
    }  # fmt: skip
    conflict.run(conflict.Settings(out=tmp_path / "draws", drawn=8, samples=6, **common))
    found = read_json(tmp_path / "conflict.json")
    assert sum(found["kinds"]["0.5"][kind]["helpful"]["mean"] for kind in conflict.KINDS) == pytest.approx(1)
    assert (tmp_path / "conflict.svg").stat().st_size > 1000
    own = ceilings.Settings(
        out=tmp_path / "ceilings", draws=tmp_path / "draws", samples=8, rows=(5,), **common
    )
    ceilings.run(own)
    ways = read_json(tmp_path / "ceilings.json")["proxies"]["helpful, 5 rows"]["ways"]
    level, peak, matched = (ways[way] for way in (ceilings.LEVEL, ceilings.PEAK, ceilings.MATCHED))
    assert level["proxy"] == pytest.approx(peak["proxy"], abs=1e-5)
    assert matched["kl"] == pytest.approx(peak["kl"], abs=1e-5)
    # Whatever N was best: a level is met at the least divergence, a divergence gives the most of the proxy.
    proxy, golden = np.random.default_rng(0).normal(size=(2, 6, 8))
    for best in (1, 2, 5, 8):
        own = {way: values.mean(axis=0) for way, values in ceilings.tilted(proxy, golden, best).items()}
        level, peak, matched = (own[way] for way in (ceilings.LEVEL, ceilings.PEAK, ceilings.MATCHED))
        assert level[1] == pytest.approx(peak[1], abs=1e-5)
        assert matched[2] == pytest.approx(peak[2], abs=1e-5)
        between = 1 < best < 8
        assert (level[2] < peak[2] - 0.01) if between else level[2] == pytest.approx(peak[2], abs=1e-4)
        assert (matched[1] > peak[1] + 0.01) if between else matched[1] == pytest.approx(peak[1], abs=1e-4)
