"""An endpoint judges progress by `evaluate progress`, as a person would ask for it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pluralign.core.files import read_json
from pluralign.core.records import read_trajectories

sys.path.insert(0, str(Path(__file__).parents[1] / "collect"))
from collect_fakes import serving


@pytest.mark.parametrize("sign", [1, -1], ids=["forwards", "backwards"])
def test_an_endpoint_that_knows_the_order(run, tmp_path, monkeypatch, capsys, sign):
    played = tmp_path / "t.jsonl"
    collect = ("collect", "--story", "salt_ledger", "--policy", "random", "--episodes", 3, "--out", played)
    assert run(*collect) == 0
    places: dict[str, set[int]] = {}
    for episode in read_trajectories(played):
        for place, step in enumerate(episode.steps):
            places.setdefault(_plain(step.decision.prompt), set()).add(place)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    asked = []

    def respond(body, number):
        text = body["messages"][-1]["content"]
        found = dict(re.findall(r"Passage (\d+):\n(.*?)(?=\n\nPassage \d+:\n|\n\nHow far)", text, re.S))
        asked.append(len(found))
        # Passages of several places are read as their mean; the first is the start.
        shown = {n: np.mean(list(places[_plain(passage)])) for n, passage in found.items()}
        lines = [f"Passage {n}: {50 + sign * place:.0f}" for n, place in shown.items()]
        message = {"role": "assistant", "content": "I have thought.\n" + "\n".join(lines)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return (
            200,
            {},
            json.dumps({"id": "x", "object": "y", "created": 0, "model": "m", "choices": [choice]}),
        )

    with serving(respond) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        command = ("evaluate", "progress", played, "--judge", "openai:m", "--reading", "percent")
        assert run(*command, "--samples", 2, "--out", tmp_path / "out") == 0
    report = read_json(tmp_path / "out" / "report.json")
    assert report["order"]["mean"] == pytest.approx(sign, abs=0.05)
    assert report["worth"] is not None
    assert set(asked) == {6}
    assert len(asked) == 3 * 2
    told = capsys.readouterr().out
    assert "percent:openai:m on salt_ledger, score: 3 episodes" in told


def _plain(passage: str) -> str:
    return " ".join(passage.split())[:200]
