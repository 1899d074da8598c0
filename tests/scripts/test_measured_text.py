"""Text steered by what a program measures: figures over seeds, the best of several, fluency, a whole run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pluralign.core import SteeringWeights
from pluralign.core.files import read_json
from pluralign.lm.backbone import load_backbone

Script = Callable[[str], ModuleType]


def outcomes(seed: int) -> dict[str, Any]:
    """Two objectives, three prompts: steering trades one for the other, its rival has only one weighting."""

    def point(side: str, weights: tuple[float, float] | None, means: tuple[float, float]) -> dict[str, Any]:
        measured = {
            name: [mean + 0.1 * seed + gap for gap in (-1.0, 0.0, 1.0)]
            for name, mean in zip("ab", means, strict=True)
        }
        surprisal = [2.0 if side == "base" else 2.2] * 2
        named = None if weights is None else dict(zip("ab", weights, strict=True))
        rest = {"surprisal": surprisal, "repetition": [0.0, 0.0, 0.3], "texts": ["x|y", "x", "x"]}
        return {"side": side, "weights": named, "first": measured, "second": measured, **rest}

    shares = (0.0, 0.25, 0.5, 1.0)
    steered = [point("steered (geometric mean)", (w, 1 - w), (2 * w, 2 - 2 * w)) for w in shares]
    points = [*steered, point("MODPO", (0.5, 0.5), (0.5, 0.5)), point("base", None, (0.0, 0.0))]
    return {"objectives": ["a", "b"], "prompts": ["one", "two", "three"], "points": points}


def test_figures_over_seeds(script: Script) -> None:
    script("measured_text")
    from measured_lib.across import of_seeds

    across = of_seeds({"1": outcomes(0), "2": outcomes(1)})
    steered, rival = across.leads("first")
    assert (steered.side, rival.side) == ("steered (geometric mean)", "MODPO")
    assert steered.lead is None
    assert rival.lead is not None
    assert rival.equal_lead is not None
    # With this one weighting alone the lead is smaller, and there is one still.
    assert 0 < rival.equal_lead.mean < rival.lead.mean
    assert steered.volume.mean == pytest.approx(np.mean(steered.volumes))
    row = across.dials()["steered (geometric mean)"]["a"]
    assert row["first"] == pytest.approx([1, 1])
    # From no weight to all of it the measure grows by 2, here in deviations of the base model's answers.
    spread = np.std([-1, 0, 1, -0.9, 0.1, 1.1], ddof=1)
    assert row["change_first"]["mean"] == pytest.approx(2 / spread)
    fluency = across.fluency()["MODPO"]
    assert fluency["mean"]["mean"] == pytest.approx(1.1)
    assert fluency["repetition"] == pytest.approx(0.1)
    # The two seeds differ, so an interval over seeds and prompts is not empty.
    assert steered.volume.low < steered.volume.high


def test_the_report_has_tables_pictures_and_answers(script: Script, tmp_path: Path) -> None:
    measured = script("measured_text")
    from measured_lib.measures import QUALITIES

    QUALITIES.update({name: replace(QUALITIES["brief"], name=name) for name in "ab"})
    from pluralign.core.files import write_json

    for seed in (1, 2):
        write_json(tmp_path / str(seed) / "sweep-a-b.json", outcomes(seed))
    measured.write_report(tmp_path, tmp_path / "r", "measured_text")
    assert "lead of steering" in (tmp_path / "r" / "measured_text.md").read_text()
    assert (tmp_path / "r" / "measured_text-a-b.svg").stat().st_size > 1000
    answers = (tmp_path / "answers.md").read_text()
    # A bar would end the table's cell.
    assert "x/y" in answers


def test_the_best_of_several_follows_the_weights(script: Script) -> None:
    script("measured_text")
    from measured_lib.best_of import best_of

    answers = [
        ["I love this wonderful and happy day in the sun", "Yes"],
        ["Sad", "A great joy for all of us"],
    ]
    scale = {"cheerful": (0.0, 1.0), "brief": (0.0, 1.0)}
    ends = [SteeringWeights({"cheerful": share, "brief": 1 - share}) for share in (1.0, 0.0)]
    cheerful, brief = best_of(answers, scale, ends)
    assert [own[0] for own in cheerful.texts] == [answers[0][0], answers[1][1]]
    assert [own[0] for own in brief.texts] == ["Yes", "Sad"]
    assert cheerful.side == "best of 2"
    assert brief.rewards["brief"].tolist() == [-1, -1]


def test_fluency(script: Script) -> None:
    script("measured_text")
    import torch
    from measured_lib.fluency import repetition, surprisals

    assert repetition("a b c a b c") == pytest.approx(1 / 4)
    assert repetition("") == repetition("one two") == 0
    base = load_backbone("tiny-random")
    texts = {"Why?": ["Because.", "No"], "Who": ["Me"]}
    found = surprisals(base, texts)
    for (prompt, own), values in zip(texts.items(), found, strict=True):
        for text, value in zip(own, values, strict=True):
            begin = base.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            end = [*base.tokenizer(text, add_special_tokens=False)["input_ids"], base.tokenizer.eos_token_id]
            if base.tokenizer.bos_token_id is not None:
                begin = [base.tokenizer.bos_token_id, *begin]
            with torch.no_grad():
                logits = base.model(torch.tensor([[*begin, *end]])).logits[0].log_softmax(-1)
            terms = [float(logits[len(begin) - 1 + i, token]) for i, token in enumerate(end)]
            assert value == pytest.approx(-np.mean(terms), rel=1e-3)


@pytest.mark.slow
def test_it_runs_and_continues(
    script: Script, tmp_path: Path, data: Path, three_layers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = script("measured_text")
    # To the instruments all texts of a random model are alike.
    for number, (name, own) in enumerate(list(measured.QUALITIES.items()), start=2):
        counted = (name, lambda text, number=number: float(len(text) % number))
        monkeypatch.setitem(measured.QUALITIES, name, replace(own, first=counted, second=counted))
    # It does not come to an end either.
    monkeypatch.setattr(measured.Experiment, "_whole", lambda self, text: True)
    settings = measured.Settings(
        data, tmp_path / "w", model=three_layers, prompts=12, answers=4, lists=3, tests=4, fluent=2,
        guided_tests=2, steps=2, value_layers=1, tokens=6, epochs=0.5, results=tmp_path / "r",
    )  # fmt: skip
    measured.main(settings)
    found = read_json(tmp_path / "r" / "measured_text.json")
    first = found["sweeps"]["cheerful-brief"]
    sides = [row["side"] for row in first["hypervolumes"]["first"]]
    assert sides[0] == "steered (geometric mean)"
    assert {"MODPO", "LiPO", "joint heads", "frozen heads", "prompting", "best of 2"} < set(sides)
    assert found["sweeps"]["cheerful-brief-guided"]["prompts"] == 2
    made = {path: path.stat().st_mtime for path in (tmp_path / "w").rglob("*.json*")}
    measured.main(settings)
    kept = [path for path in made if path.name != "settings.json"]
    assert all(path.stat().st_mtime == made[path] for path in kept)
    assert read_json(tmp_path / "r" / "measured_text.json") == found
    # The policies that were chosen, and dials that are calibrated on them.
    chosen = read_json(tmp_path / "w" / "1" / "chosen-brief.json")
    assert list(chosen["surprisal"])[-1] == f"{chosen['rate']:g}"
    dials = script("calibrated_text")
    dials.run(
        dials.Settings(
            data, tmp_path / "w", tmp_path / "d", model=three_layers, trained=12, tests=4, prompts=4, steps=4,
            tokens=6, results=tmp_path / "r",
        )
    )  # fmt: skip
    table = read_json(tmp_path / "r" / "calibrated_text.json")
    assert table["seeds"] == 1
    assert [one["way"] for one in table["cells"]] == [
        "utility as weights",
        *["other prompts", "the same prompts"] * 2,
    ]
