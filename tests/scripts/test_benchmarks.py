"""Every benchmark runs from beginning to end on tiny models, for a turn or a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pluralign.core.files import read_json
from pluralign.lm.tiny import make_tiny_model, make_tiny_tokenizer

TINY = "tiny-random"
Script = Callable[[str], ModuleType]


LORA = {"lora_rank": 4, "gradient_checkpointing": True}


@pytest.mark.filterwarnings(
    "ignore:`gradient_checkpointing` is deprecated:FutureWarning",  # TRL's own, as the others
    "ignore:`is_gradient_checkpointing`:FutureWarning",
    "ignore::UserWarning",
)
@pytest.mark.parametrize(
    ("case", "more", "tolerance"),
    [
        ("bt-harmless", {}, 1e-4),
        ("dpo-harmless", {}, 1e-4),
        ("bt-ethics", {}, 1e-4),
        ("dpo-harmless", LORA | {"dtype": "bfloat16"}, 1e-2),
        ("dpo-harmless", LORA | {"load_in": "4bit"}, 1e-3),
    ],
)
def test_training(
    script: Script, case: str, more: dict[str, Any], tolerance: float, tmp_path: Path, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Both sides have the same losses; a measurement takes a process each, except here."""
    pytest.importorskip("trl")
    if "load_in" in more:
        # The layout for processors with AVX512-BF16 has blocks of 64, wider than this model's layers.
        modules = pytest.importorskip("bitsandbytes.nn.modules")
        monkeypatch.setattr(modules, "has_avx512bf16", lambda: False, raising=False)
    training = script("training")
    monkeypatch.setattr(training, "_in_a_process", training.measure)
    monkeypatch.setattr(training, "matmul_peak", lambda dtype: 1e9)
    hh, ethics = data / "hh_rlhf" / "harmless.jsonl.gz", data / "ethics" / "utilitarianism.jsonl.gz"
    out, model = tmp_path / "figures.json", tmp_path / "model"
    make_tiny_model().save_pretrained(model)
    make_tiny_tokenizer().save_pretrained(model)
    training.main(
        training.Settings(hh, ethics, str(model), pairs=2, steps=1, turns=1, cases=(case,), out=out, **more)
    )
    ours, trl = (read_json(out)[case][side][0]["losses"] for side in ("pluralign", "trl"))
    assert ours == pytest.approx(trl, abs=tolerance)


def test_decoding(script: Script, tmp_path: Path) -> None:
    decoding = script("decoding")
    decoding.main(
        decoding.Settings(
            (2,), (1, 2), prompt_tokens=8, new_tokens=3, turns=1, model=TINY, json=tmp_path / "f"
        )
    )
    rows = read_json(tmp_path / "f")["rows"]
    assert [row["batch"] for row in rows] == [1, 2]
    assert max(row["largest_difference"] for row in rows) < 1e-5


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning", "ignore::UserWarning")
def test_gpu(script: Script, tmp_path: Path) -> None:
    """On a CPU, with a tiny model: both parts are measured, and both sides have the same losses."""
    pytest.importorskip("trl")
    gpu = script("gpu")
    settings = gpu.Settings(
        tmp_path / "f", "cpu", tiny=True, pairs=2, steps=1, objectives=(2,), batches=(1, 2), turns=1
    )
    gpu.main(settings)
    found = read_json(tmp_path / "f")
    assert found["machine"]["versions"]["torch"]
    assert [row["batch"] for row in found["decoding"]] == [1, 2]
    assert set(found["decoding"][0]["further_token"]) == {"mixture of 2", "merged"}
    for case in ("bt-harmless", "dpo-harmless"):
        ours, trl = (found["training"][case]["repetitions"][side][0]["losses"] for side in gpu.SIDES)
        assert ours == pytest.approx(trl, abs=1e-3)
    assert not found["left_out"]
    # Out of time: nothing is measured, and all of it is named.
    gpu.main(replace(settings, minutes=0.0))
    late = read_json(tmp_path / "f")
    assert len(late["left_out"]) == 2 * 2 + 2 * 2
    assert not late["training"]["bt-harmless"]["tokens_per_second"]


def test_sampling(script: Script, tmp_path: Path, data: Path) -> None:
    sampling = script("sampling")
    sampling.main(
        sampling.Settings(
            data / "hh_rlhf" / "harmless.jsonl.gz", count=2, group=1, samples=2, max_new_tokens=3, model=TINY,
            json=tmp_path / "f",
        )
    )  # fmt: skip
    found = read_json(tmp_path / "f")
    # Some processors are faster in bfloat16, which has three decimals.
    assert found["greatest_reward_gap"] < (1e-4 if found["dtype"] == "torch.float32" else 1e-2)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_scoring(script: Script, tmp_path: Path, data: Path) -> None:
    scoring = script("scoring")
    file = data / "hh_rlhf" / "harmless.jsonl.gz"
    scoring.main(
        scoring.Settings(
            file, rewards=2, layers=1, turns=2, group=2, model=TINY, json=tmp_path / "f"
        )
    )  # fmt: skip
    found = read_json(tmp_path / "f")
    assert len(found["ratios"]) == 2
    # The second reward adds its uppermost layer and head alone.
    assert found["bytes"][1] < found["bytes"][0]
    # Turns without a pair would take no time.
    with pytest.raises(SystemExit, match="expected 100016 training pairs"):
        scoring.main(scoring.Settings(file, turns=10_000, group=10, model=TINY))


def test_serving(script: Script, tmp_path: Path) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("openai")
    serving = script("serving")
    serving.main(
        serving.Settings(clients=2, seconds=2, objectives=2, new_tokens=3, model=TINY, json=tmp_path / "f")
    )
    found = read_json(tmp_path / "f")
    assert found["answered"] > 0
    assert not found["wrong"]


def test_games(script: Script, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    games = script("games")
    monkeypatch.setattr(games, "STEPS", 50)
    monkeypatch.setattr(games, "RUNS", 1)
    story = Path(games.__file__).parents[1] / "src" / "pluralign" / "games" / "stories" / "glass_quarter"
    for arguments in (["high_water"], ["--story", str(story)]):
        monkeypatch.setattr(sys, "argv", ["games.py", *arguments])
        games.main()
    assert capsys.readouterr().out.count("/s") == 2


def test_growth(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every axis at two small sizes; a second run measures nothing again."""
    growth = script("growth")
    sizes = {
        "pairs": ("40", "80"),
        "completions": ("2", "4"),
        "length": ("16", "32"),
        "objectives": ("1", "2"),
    }
    monkeypatch.setattr(growth, "SIZES", sizes)
    monkeypatch.setattr(growth, "measure_in_a_process", growth.measure)
    monkeypatch.setattr(growth, "random_llama", lambda folder, size: TINY)
    settings = growth.Settings(tuple(sizes), work=tmp_path / "w", out=tmp_path / "r")
    growth.main(settings)
    found = read_json(tmp_path / "r" / "growth.json")
    assert set(found["exponents"]["pairs"]) == {"read", "train", "memory"}
    assert {path.suffix for path in (tmp_path / "r").iterdir()} == {".json", ".md", ".svg"}
    monkeypatch.setattr(growth, "measure", None)
    monkeypatch.setattr(growth, "measure_in_a_process", None)
    growth.main(settings)
    assert "| exponent |" in capsys.readouterr().out


def test_exponents_of_powers(script: Script) -> None:
    growth = script("growth")
    rows = {
        size: {"train": 3 * float(size) ** 2, "memory": 5 * float(size)} for size in ("256", "1024", "4096")
    }
    assert growth.exponents("length", rows) == pytest.approx({"train": 2, "memory": 1})
    assert growth.magnitude("trunk", "1.0b") == pytest.approx(1.026, abs=1e-3)


def test_memory(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement takes a process of its own, except here, where its figure means nothing."""
    memory = script("memory")
    # The peak of this process may have been higher before.
    monkeypatch.setattr(memory, "_in_a_process", lambda *given: max(1, memory._measure(*given)))
    memory.main(memory.Settings(("lora",), "0.03b", 64, tmp_path / "f"))
    assert read_json(tmp_path / "f")["lora"]["estimate"]["peak"] > 0.1e9


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_policy_gradient(script: Script, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("trl")
    gradient = script("policy_gradient")
    file = data / "hh_rlhf" / "harmless.jsonl.gz"
    gradient.main(
        gradient.Settings(file, TINY, 2, 4, 3, batch_size=8, lora_rank=2, turns=2, bf16=False)
    )  # fmt: skip
    out = capsys.readouterr().out
    assert out.count("CPU seconds") == 4
    assert "times TRL's speed, 2 prompts x 4 completions" in out
