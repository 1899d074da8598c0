"""The experiment on weights from choices, in small."""

import gzip
import json
from dataclasses import replace

import numpy as np
from small_data import moral_case


def test_every_part_runs(script, tmp_path, monkeypatch):
    module = script("weights_from_choices")
    monkeypatch.setattr(module.planted, "NUMBERS", (1, 3))
    monkeypatch.setattr(module.planted, "ANSWERS", 10)
    folder = tmp_path / "data" / "value_choices"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    names = ["kind", "short"]
    people = [
        {"person": n, "stated": dict(zip(names, random.normal(size=2), strict=True))} for n in range(40)
    ]
    questions = [
        {"question": q, "answers": [
            {"values": {}, "ratings": {
                str(n): int(np.clip(round(3.5 + random.normal() + side * one["stated"]["kind"]), 1, 6))
                for n, one in enumerate(people)
            }}
            for side in (1, -1)
        ]}
        for q in range(6)
    ]  # fmt: skip
    for name, rows in (("people", people), ("questions", questions)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(row) + "\n" for row in rows)
    monkeypatch.setattr(module.rules, "NUMBERS", (1, 2))
    monkeypatch.setattr(module.rules, "PEOPLE", 1)
    (tmp_path / "data" / "moralchoice").mkdir()
    for name in ("low", "high"):
        with gzip.open(tmp_path / "data" / "moralchoice" / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(moral_case(name, i, module.rules.RULES)) + "\n" for i in range(24))
    settings = module.Settings(
        out=tmp_path / "out", data=tmp_path / "data", simulated=2, pool=25, halvings=2, seeds=0, stories=(),
        results=tmp_path / "results",
    )  # fmt: skip
    module.run(settings)
    table = (tmp_path / "results" / "weights_from_choices.md").read_text()
    found = json.loads((tmp_path / "results" / "weights_from_choices.json").read_text())
    assert {row["way"] for row in found["planted"]} == {"random", "chosen"}
    assert found["people"]["correlations"]["kind"]["mean"] > 0.2
    assert found["people"]["right_by_weights"]["mean"] > 0.5
    assert "worst objective" in found["misspecified"]
    assert "| 5 | 3 | chosen |" in table
    assert "rule" in table
    # What is there is not measured again.
    before = (tmp_path / "out" / "planted-2.json").stat().st_mtime_ns
    module.run(replace(settings, results=tmp_path / "again"))
    assert (tmp_path / "out" / "planted-2.json").stat().st_mtime_ns == before


def test_stories_are_measured_with_any_policies(script, tmp_path, monkeypatch):
    module = script("weights_from_choices")
    from weights_lib import stories

    import pluralign as pl

    class Half:
        """A policy that likes options by their place."""

        def __init__(self, name, sign):
            self.name, self.sign = name, sign

        def log_probs(self, decisions):
            odds = [self.sign * np.arange(len(one.options), dtype=float) for one in decisions]
            return [own - np.logaddexp.reduce(own) for own in odds]

    game = pl.open_story("glass_quarter")

    class Job:
        settings = module.JobSettings(story="glass_quarter")
        objectives = tuple(game.info.select(settings.objectives))
        make_game = staticmethod(game.make_game)

        def open(self, rater):
            first, second = self.settings.objectives
            return {first: Half(first, 1), second: Half(second, -1)}

    monkeypatch.setattr(stories, "USERS", (0.3,))
    monkeypatch.setattr(stories, "NUMBERS", (1, 2))
    rows = list(stories.measure(Job(), 1))
    assert {row["way"] for row in rows} == {"true weights", "uniform weights", *stories.WAYS}
    assert all(row["regret"] > -1e-9 for row in rows)
