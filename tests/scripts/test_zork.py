"""The experiment on Zork I, on a small assembled story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from zmachine_toll import write_toll

from pluralign.core.files import read_json
from pluralign.learn.options import bc
from pluralign.workflows import main_job

Script = Callable[[str], ModuleType]


def test_zork(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fernz", reason="fernz, which plays Z-machine stories, is not installed")
    whole = main_job.cpl_config
    monkeypatch.setattr(main_job, "cpl_config", lambda: replace(whole(), steps=20))
    monkeypatch.setattr(bc, "fit_bc", partial(bc.fit_bc, config=bc.BCConfig(steps=20)))
    zork = script("zork")
    story = write_toll(tmp_path / "toll")
    settings = zork.Settings(
        story, story.with_name("toll_walkthrough.txt"), story.with_name("toll_annotations.csv"),
        tmp_path / "w", "tiny-random", steps=6, explored=2, episodes=12, comparisons=30, play=3, seeds=1,
        results=tmp_path / "r",
    )  # fmt: skip
    zork.run(settings)
    figures = read_json(tmp_path / "r" / "zork.json")
    assert list(figures["policies"]) == [
        *("random", "language model", "CPL score", "CPL harm_avoidance", "CPL, weights 0.5 and 0.5"),
    ]
    assert figures["candidates"]["score"] == 10
    assert figures["policies"]["random"]["score"]["more than random"]["mean"] == 0.0
    text = (tmp_path / "r" / "zork.md").read_text("utf-8")
    assert "The walkthrough ends with 10 of 10 points." in text
    # A finished run writes the same results again.
    (tmp_path / "r" / "zork.md").unlink()
    zork.run(settings)
    assert (tmp_path / "r" / "zork.md").read_text("utf-8") == text
