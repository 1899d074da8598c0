"""Experiments on texts run from beginning to end, on small made-up data and tiny models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from small_data import names_in

from pluralign.core import InputError
from pluralign.core.files import read_json, write_json

TINY = "tiny-random"
Script = Callable[[str], ModuleType]


def few_layers(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies train two layers of three, rewards one."""
    monkeypatch.setitem(script.RECIPE["policy"], "layers", 2)
    monkeypatch.setitem(script.RECIPE["reward"], "layers", 1)


def test_afd(
    script: Script, tmp_path: Path, data: Path, three_layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    afd = script("afd")
    few_layers(afd, monkeypatch)
    monkeypatch.setattr(afd, "PAIRS", 10)
    monkeypatch.setattr(afd, "SPIN_DEMONSTRATIONS", 4)
    monkeypatch.setattr(afd, "_per_prompt", lambda prompts: 1)
    monkeypatch.setattr(afd.data, "GOLDEN", 10)
    afd.main(
        afd.Settings(
            data, tmp_path / "w", model=three_layers, samples=4, tests=2, tokens=4, results=tmp_path / "r"
        )
    )
    figures = read_json(tmp_path / "w" / "harmless-1.json")
    assert len(figures["policies"]) == 6
    assert len(figures["rewards"]["closed form"]) == figures["prompts"] == 2
    assert {"afd.json", "afd.md"} <= names_in(tmp_path / "r")


def test_afd_gsm8k(
    script: Script, tmp_path: Path, data: Path, three_layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gsm8k = script("afd_gsm8k")
    few_layers(gsm8k, monkeypatch)
    gsm8k.main(
        gsm8k.Settings(
            data, tmp_path / "w", model=three_layers, demonstrations=8, tests=2, samples=2, tokens=4,
            results=tmp_path / "r",
        )
    )  # fmt: skip
    assert read_json(tmp_path / "r" / "afd_gsm8k.json")["questions"] == 2


def test_ava_table1(
    script: Script, tmp_path: Path, data: Path, three_layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ava = script("ava_table1")
    monkeypatch.setattr(ava, "TRAINING_PAIRS", dict.fromkeys(ava.PAIRS, 8))
    monkeypatch.setattr(ava, "PAIRS", dict.fromkeys(ava.PAIRS, 20))
    for training in ava.TRAINING.values():
        monkeypatch.setitem(training, "epochs", 1)
    for stage in ("table", "full"):
        ava.main(
            ava.Settings(
                data, tmp_path / "w", stage, three_layers, layers=2, folds=(2,), results=tmp_path / "r"
            )
        )
    assert len(list((tmp_path / "w").glob("utilitarianism-*.json"))) == 10
    assert (tmp_path / "w" / "full-utilitarianism-2.json").is_file()
    assert names_in(tmp_path / "r")
    # All rows, and folds on whose prompts settings were chosen.
    monkeypatch.setattr(ava, "MAIN", ("Bradley-Terry", "AVA-p"))
    monkeypatch.setattr(ava, "OTHERS", ())
    settings = ava.Settings(
        data, tmp_path / "a", model=three_layers, layers=2, folds=(0, 2), all_rows=True, ablations=False,
        results=tmp_path / "r", name="all",
    )  # fmt: skip
    ava.main(settings)
    figures = read_json(tmp_path / "r" / "all.json")
    assert [row["folds"] for row in figures["against_ava_p"]] == [[0, 2]] * 3
    assert [row["folds"] for row in figures["untouched"]] == [[2]] * 3
    assert "without the folds on whose prompts" in (tmp_path / "r" / "all.md").read_text()
    # What the results have is not run again, and a method is shown when all its runs are there.
    monkeypatch.setattr(ava, "run", None)
    ava.main(replace(settings, out=tmp_path / "other"))
    assert read_json(tmp_path / "r" / "all.json") == figures
    (tmp_path / "other" / "helpful-Bradley-Terry-2.json").unlink()
    (tmp_path / "r" / "all.json").unlink()
    ava.main(replace(settings, out=tmp_path / "other", stage="report"))
    found = read_json(tmp_path / "r" / "all.json")
    assert found["unfinished"] == {"Bradley-Terry": 5}
    assert {row["method"] for row in found["rows"]} == {"AVA-p"}
    assert (
        "Not finished, and left out (number of runs): Bradley-Terry (5)."
        in (tmp_path / "r" / "all.md").read_text()
    )


def test_helpful_harmless(script: Script, tmp_path: Path, data: Path, three_layers: str) -> None:
    helpful = script("helpful_harmless")
    sizes = helpful.data.Sizes(pairs=6, reward_pairs=6, tests=2, value_prompts=4, value_samples=2)
    helpful.main(
        helpful.Settings(
            data,
            tmp_path / "w",
            model=three_layers,
            sizes=sizes,
            reward_layers=2,
            steps=2,
            tokens=4,
            results=tmp_path / "r",
        )
    )
    assert set(read_json(tmp_path / "w" / "1.json")["sweeps"]) == {"DPO", "DPO, ranked", "AVA-p"}
    assert names_in(tmp_path / "r")
    ranked = read_json(tmp_path / "r" / "helpful_harmless.json")["1"]["sweeps"]["DPO, ranked"]
    assert [side["label"] for side in ranked["sides"]] == [
        "steered (geometric mean)", "rewarded soups", "value guided (2)", "joint heads", "frozen heads"
    ]  # fmt: skip
    assert [(row["heads"], row["weight_on"]) for row in ranked["heads"]] == [
        (f"{trunk} heads", name) for trunk in ("joint", "frozen") for name in ("helpful", "harmless")
    ]
    assert "minus the policy that was learned" in (tmp_path / "r" / "helpful_harmless.md").read_text()
    report = (tmp_path / "r" / "helpful_harmless.md").read_text()
    # Another seed from another working folder is added, if its settings are the same.
    (tmp_path / "w2").mkdir()
    own = read_json(tmp_path / "w" / "1.json")
    settings = {**own["settings"], "seed": 2}
    write_json(tmp_path / "w2" / "2.json", {**own, "settings": settings})
    again = helpful.Settings(data, tmp_path / "w2", report=True, results=tmp_path / "r")
    helpful.main(again)
    both = (tmp_path / "r" / "helpful_harmless.md").read_text()
    assert both.startswith("## Over 2 training seeds (1, 2)")
    assert report.strip() in both
    # Sweeps of one seed that were run apart are together.
    ranked = {"DPO, ranked": own["sweeps"]["DPO, ranked"]}
    write_json(tmp_path / "w2" / "2.json", {**own, "settings": settings, "sweeps": ranked})
    helpful.main(again)
    assert (tmp_path / "r" / "helpful_harmless.md").read_text() == both
    write_json(tmp_path / "w2" / "2.json", {**own, "settings": {**settings, "tokens": 5}})
    with pytest.raises(InputError, match=r"seeds 1 and 2 .*\(tokens\)"):
        helpful.main(again)
