"""The experiments on many objectives, in small."""

import json
from dataclasses import replace
from functools import partial

import small_data
from small_story import write_story

from pluralign.core.files import read_json
from pluralign.learn.options import bc
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings


def test_calibrated_dials(script, tmp_path, monkeypatch):
    dials = script("calibrated_dials")
    monkeypatch.setattr("dials_lib.stories.BUDGETS", (6,))
    monkeypatch.setattr("dials_lib.stories.EPISODES", 2)
    whole = main_job.cpl_config
    monkeypatch.setattr(main_job, "cpl_config", lambda: replace(whole(), steps=20))
    monkeypatch.setattr(bc, "fit_bc", partial(bc.fit_bc, config=bc.BCConfig(steps=20)))
    job = JobSettings(model="tiny-random", episodes=20, comparisons=60)
    settings = dials.Settings(
        tmp_path / "out", tmp_path / "agents", seeds=1, stories=("salt_ledger",), draws=1, steps=3, job=job,
        results=tmp_path,
    )  # fmt: skip
    dials.run(settings)
    rows = read_json(tmp_path / "calibrated_dials.json")
    assert {row["way"] for row in rows} >= {"utility as weights", "fill", "by volume", "fill, 2 episodes"}
    assert "| salt_ledger | 6 | fill |" in (tmp_path / "calibrated_dials.md").read_text()


def test_reward_combinations(script, tmp_path):
    tables = script("reward_combinations")
    settings = tables.Settings(
        tmp_path / "out", seeds=2, prompts=6, options=4, steps=(5, 40), groups=(4,), results=tmp_path
    )
    tables.run(settings)
    rows = {
        (row["table"], row["way"], row["steps"]): row
        for row in read_json(tmp_path / "reward_combinations.json")
    }
    best = rows["equal scales", "optimum of the weighted sum", 0]["volume"]["mean"]
    early, late = (rows["equal scales", "weighted sum", steps]["volume"]["mean"] for steps in (5, 40))
    assert early < late < best * 1.05
    # A constant factor changes no standardised reward.
    for name in ("sum of standardised", "GDPO"):
        equal, larger = (
            rows[table, name, 40]["volume"]["mean"] for table in ("equal scales", "second ten times larger")
        )
        assert abs(equal - larger) < 1e-9
    assert len((tmp_path / "reward_combinations.md").read_text().splitlines()) > 30


def test_reward_weightings(script, tmp_path, features, monkeypatch):
    weightings = script("reward_weightings")
    monkeypatch.setattr("weightings_lib.story.WEIGHTS", (0.5,))
    monkeypatch.setattr("weightings_lib.story.PLAYS", 20)
    monkeypatch.setattr("weightings_lib.story.PRICES", (0.1,))
    monkeypatch.setattr("weightings_lib.tables.WEIGHTS", (0.2, 0.8))
    config = replace(
        weightings.Settings().config, rounds=2, block=2, decisions=2, samples=2, episodes=2, hidden=0
    )
    settings = weightings.Settings(
        tmp_path / "out", seeds=2, story_seeds=1, prompts=6, options=4, budgets=(8, 16), batches=40,
        story=str(write_story(tmp_path / "toll")), model="tiny-random", features=features,
        config=config, results=tmp_path,
    )  # fmt: skip
    weightings.run(settings)
    rows = read_json(tmp_path / "reward_weightings.json")
    assert {row["part"] for row in rows} == {
        "moving", "targets", "tails", "story combinations", "story target", "story tails",
    }  # fmt: skip
    # Batches for validation are counted.
    assert {row["batches"] for row in rows if row["part"] == "moving"} == {8, 16}
    assert all(0 < row["ratio"] < 2 for row in rows if row["part"] == "targets")
    assert "## Story combinations" in (tmp_path / "reward_weightings.md").read_text()


def test_offline_q_stories(script, tmp_path, features, monkeypatch):
    values = script("offline_q_stories")
    monkeypatch.setattr("offline_q_lib.agents.WEIGHTINGS", 3)
    settings = values.Settings(
        tmp_path / "out", features, "tiny-random", seeds=1, stories=("salt_ledger",),
        episodes=(3,), ways=("pessimistic", "any weights", "coverage play"), steps=3, results=tmp_path,
    )  # fmt: skip
    values.run(settings)
    rows = {row["way"]: row for row in read_json(tmp_path / "offline_q_stories.json")}
    assert set(rows) == {"pessimistic", "any weights", "coverage play"}
    assert rows["coverage play"]["options taken"]["mean"] > 0
    assert all(0 <= row["hypervolume"]["mean"] <= 1.1 for row in rows.values())
    assert "| pessimistic | 3 | salt_ledger | 1 |" in (tmp_path / "offline_q_stories.md").read_text()


def test_joint_heads(script, tmp_path, features):
    joint = script("joint_heads")
    settings = joint.Settings(
        tmp_path / "out", features, "tiny-random", ("salt_ledger",), seeds=1, episodes=80,
        comparisons=400, steps=10, results=tmp_path,
    )  # fmt: skip
    joint.run(settings)
    found = read_json(tmp_path / "joint_heads.json")
    ways = {row["way"]: row for row in found["rows"]}
    assert list(ways) == list(joint.WAYS)
    # Two heads of 64 units, and one less hidden layer.
    assert ways["separate"]["parameters"] - ways["sum"]["parameters"] == 64 * (64 + 1)
    assert ways["sum"]["score"]["weight"] == 0.5 != ways["min_norm"]["score"]["weight"]
    assert [row["way"] for row in found["differences"]] == list(joint.WAYS[1:])
    assert "| salt_ledger | guided | 1 |" in (tmp_path / "joint_heads.md").read_text()


def test_search_stories(script, tmp_path, features):
    stories = script("search_stories")
    settings = stories.Settings(
        tmp_path / "out", tmp_path / "agents", features, "tiny-random", seeds=2, searches=2,
        stories=("salt_ledger",), episodes=3, values=("exact, noise 0.1", "any weights"), steps=3,
        results=tmp_path,
    )  # fmt: skip
    stories.METHODS = {name: stories.METHODS[name] for name in ("parallel", "bavt", "beam", "beam of 2")}
    stories.run(settings)
    rows = {(r["values"], r["method"], r["budget"]): r for r in read_json(tmp_path / "search_stories.json")}
    noisy, learned = (rows[values, "beam", 400] for values in settings.values)
    parallel = rows["exact, noise 0.1", "parallel", 400]
    # Values that are good beat random play; values that nobody trained do not matter here.
    assert parallel["worth"]["mean"] < noisy["worth"]["mean"] <= 1.0
    assert 0.0 <= learned["worth"]["mean"] <= 1.0
    assert parallel["worth"]["low"] < parallel["worth"]["high"]
    assert rows["exact, noise 0.1", "beam of 2", None]["calls"]["mean"] < 160
    assert "| beam | 400 |" in (tmp_path / "search_stories.md").read_text()


def test_selection(script, tmp_path):
    selection = script("selection")
    data = small_data.write_data(tmp_path / "data", 80)
    settings = selection.Settings(
        data, tmp_path / "out", "tiny-random", budgets=(6, 12), draws=2, random=2, penalties=(0.01, 0.1),
        results=tmp_path,
    )  # fmt: skip
    selection.run(settings)
    rows = {(row["by"], row["budget"]): row for row in read_json(tmp_path / "selection.json")["table"]}
    assert len(rows) == 6 * 2 + 1
    assert rows["random", 6]["right"]["low"] <= rows["random", 6]["right"]["mean"]
    own, chance = rows["diversity", 12]["right"]["mean"], rows["random", 12]["right"]["mean"]
    assert abs(rows["diversity", 12]["more than random"]["mean"] - (own - chance)) < 1e-12
    assert "| all pairs | all |" in (tmp_path / "selection.md").read_text()


def test_sibling_advantages(script, tmp_path):
    siblings = script("sibling_advantages")
    siblings.run(siblings.Settings(seeds=2, stories=("salt_ledger",), episodes=(40,), results=tmp_path))
    (row,) = read_json(tmp_path / "sibling_advantages.json")
    assert row["siblings"]["mean"] > row["episode return"]["mean"] + 0.05
    assert "| salt_ledger | 40 |" in (tmp_path / "sibling_advantages.md").read_text()


def test_sibling_tokens(script, tmp_path):
    tokens = script("sibling_tokens")
    rows = [
        {"prompt": "a", "completions": [" one two", " one three", " one two"]},
        {"prompt": "b", "completions": ["x", "y", "z"]},
    ]
    (tmp_path / "draws.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokens.run(tokens.Settings(tmp_path / "draws.jsonl", "tiny-random", (2, 3), tmp_path))
    two, three = read_json(tmp_path / "sibling_tokens.json")
    # Two different samples part once.
    assert two["tokens of a sample"]["mean"] == three["tokens of a sample"]["mean"] == 1
    # After " one t" and at the very beginning.
    assert two["place of the last one"]["mean"] == (7 + 1) / 2
    assert "| 3 | " in (tmp_path / "sibling_tokens.md").read_text()


def test_collected_agents(script, tmp_path, features, monkeypatch):
    collected = script("collected_agents")
    monkeypatch.setattr("offline_q_lib.agents.WEIGHTINGS", 3)
    settings = collected.Settings(
        tmp_path / "out", tmp_path / "agents", features, "tiny-random", seeds=2,
        stories=("salt_ledger",), episodes=20, comparisons=200, steps=40, results=tmp_path,
    )  # fmt: skip
    collected.run(settings)
    cells = read_json(tmp_path / "collected_agents.json")
    assert len(cells) == len(collected.METHODS) * 2 * len(collected.SOURCES)
    by_source = {one["source"]: one for one in cells if one["story"] == "all" and one["method"] == "learn q"}
    assert by_source["planned"]["covered"]["mean"] > by_source["random"]["covered"]["mean"]
    for one in cells:
        # Uniform play has 0.44 of the best score, and no agent more than the best.
        assert 0.3 < one["score, share of best"]["mean"] <= 1
        assert 0 < one["hypervolume"]["mean"] < 1
    assert "ahead" in by_source["planned"]["hypervolume"]
    before = (tmp_path / "collected_agents.md").read_bytes()
    collected.run(settings)
    assert (tmp_path / "collected_agents.md").read_bytes() == before


def test_sibling_policies(script, tmp_path, features, monkeypatch):
    siblings = script("sibling_policies")
    monkeypatch.setattr("offline_q_lib.agents.WEIGHTINGS", 3)
    settings = siblings.Settings(
        tmp_path / "out", tmp_path / "agents", features, "tiny-random", seeds=2,
        stories=("salt_ledger",), episodes=(20,), steps=40, results=tmp_path,
    )  # fmt: skip
    siblings.run(settings)
    found = read_json(tmp_path / "sibling_policies.json")
    (row,), (across,) = found["stories"], found["all"]
    score = row["score, as it is"]
    # Uniform play has 0.44 of the best score.
    assert score["cloning by siblings"]["mean"] > score["cloning"]["mean"] > 0.3
    assert across["score, as it is"]["ahead"]["cloning by siblings"]["mean"] > 0
    assert "| all (2 trainings) | 20 |" in (tmp_path / "sibling_policies.md").read_text()
    before = (tmp_path / "sibling_policies.md").read_bytes()
    siblings.run(settings)
    assert (tmp_path / "sibling_policies.md").read_bytes() == before
