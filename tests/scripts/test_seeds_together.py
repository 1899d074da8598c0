"""Figures of several seeds of one experiment, taken together."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


def figures(shift: float) -> dict[str, Any]:
    def row(name: str, mean: float, **more: Any) -> dict[str, Any]:
        return {"name": name, "over_sft": {"mean": mean + shift}, **more}

    return {
        "policies": [row("SPIN, greedy", 0.3)],
        "best_of_n": [
            row("Init-SFT", 0.1, n=4, wins={"mean": 0.5}),
            row("Init-SFT", 0.2, n=64, wins={"mean": 0.6 + shift}),
        ],
        "within": {"Init-SFT": 0.3 + shift},
        "separation": {"Init-SFT": {"base / SFT": {"mean": 0.8 + shift}}},
    }


def test_seeds_of_a_task_are_taken_together(script: Callable[[str], ModuleType]) -> None:
    script("afd")
    from afd_lib.across import over_seeds
    from afd_lib.report import _across_markdown

    runs = {"harmless-1": figures(0.0), "harmless-2": figures(0.1), "helpful-1": figures(0.0)}
    (task,) = found = over_seeds(runs)
    assert task == "harmless"
    assert found[task]["seeds"] == ["1", "2"]
    best = found[task]["best_of_n"]["Init-SFT, 64"]
    assert best["each"] == pytest.approx([0.2, 0.3])
    assert best["mean"] == pytest.approx(0.25)
    assert best["low"] < 0.25 < best["high"]
    assert found[task]["best_of_n"]["Init-SFT, 4"]["each"] == pytest.approx([0.1, 0.2])
    assert found[task]["within"]["Init-SFT"]["each"] == pytest.approx([0.3, 0.4])
    assert found[task]["wins"]["Init-SFT"]["each"] == pytest.approx([0.6, 0.7])
    assert found[task]["separation"]["Init-SFT: base / SFT"]["mean"] == pytest.approx(0.85)
    assert "| SPIN, greedy | 0.30, 0.40 | 0.35 (" in _across_markdown(task, found[task])


def test_hypervolumes_of_seeds_are_taken_together(script: Callable[[str], ModuleType]) -> None:
    script("helpful_harmless")
    from helpful_harmless_lib.across import over_seeds
    from helpful_harmless_lib.report import _across_markdown

    def run(volume: float) -> dict[str, Any]:
        first = {"label": "steered", "hypervolume": {"mean": volume}, "first_leads_by": None}
        soups = {"label": "soups", "hypervolume": {"mean": 0.5}, "first_leads_by": {"mean": volume - 0.5}}
        return {"sweeps": {"DPO": {"sides": [first, soups]}}}

    assert not over_seeds({"1": run(0.6)})
    found = over_seeds({"1": run(0.6), "2": run(0.8)})
    assert found["DPO"]["steered"]["hypervolume"]["each"] == [0.6, 0.8]
    assert "lead" not in found["DPO"]["steered"]
    assert found["DPO"]["soups"]["lead"]["mean"] == pytest.approx(0.2)
    assert "| soups | 0.50, 0.50 | 0.50 (0.50 to 0.50) | 0.10, 0.30 | 0.20 (" in _across_markdown(
        ["1", "2"], found
    )
