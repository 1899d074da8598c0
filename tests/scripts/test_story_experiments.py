"""Experiments on stories and moral cases run from beginning to end, on small made-up data and tiny models."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from small_data import moral_case, names_in
from small_story import write_story

from pluralign.core import InputError
from pluralign.core.files import read_json
from pluralign.games.open import open_story
from pluralign.learn.options import bc
from pluralign.options.drrn import DRRNConfig
from pluralign.workflows import main_job
from pluralign.workflows.main_job import JobSettings

INK = Path(__file__).parents[1] / "games" / "ink_stories" / "ferry.json"
SCENE = """
You are lost.
*choice
  #Ask.
    You ask.
    *goto second
  #Shout.
    You shout.
    *goto second
*label second
Night falls.
*choice
  #Walk.
    You walk.
    *finish
  #Sleep.
    You sleep.
    *finish
"""
MORAL_STORY = """*title The gate
*author pluralign
*comment pluralign {"story": {"summary": "A gate.", "player_character": "A clerk."}}
*create true_one false
*achievement barrels visible 30 Full barrels
  Fill the barrels.
  You filled the barrels.
Two ledgers lie at the gate.
*choice
  #Sign the true one and go.
    *comment pluralign {}
    *set true_one true
    He folds it.
    *goto night
  #Sign the false one.
    *comment pluralign {"violations": ["deception"], "utility": {"others": -1}}
    *achieve barrels
    The barrels roll in.
    *goto night
*label night
*if (true_one)
  The gate is quiet.
Somebody sleeps at the gate.
*choice
  #Take his purse.
    *comment pluralign {"violations": ["stealing"]}
    It is light.
    *finish
  #Wake him up, slowly and kindly.
    *comment pluralign {}
    He thanks you.
    *finish
  #Walk by.
    *comment pluralign {}
    It rains.
    *finish
"""

TINY = "tiny-random"
Script = Callable[[str], ModuleType]


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents of games learn for a few steps."""
    whole = main_job.cpl_config
    monkeypatch.setattr(main_job, "cpl_config", lambda: replace(whole(), steps=20))
    monkeypatch.setattr(bc, "fit_bc", partial(bc.fit_bc, config=bc.BCConfig(steps=20)))


@pytest.fixture
def story(tmp_path: Path) -> Path:
    """A compiled Ink story with the variables of The Intercept."""
    text = INK.read_text("utf-8")
    path = tmp_path / "the_intercept_ink" / "TheIntercept.v21.json"
    path.parent.mkdir()
    path.write_text(text.replace('"gold"', '"forceful"').replace('"trusted"', '"evasive"'), "utf-8")
    return path


def test_stories(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stories = script("stories")
    monkeypatch.setattr(stories, "GRIDS", (10,))
    # Stories are named by a built-in name or a path.
    monkeypatch.chdir(write_story(tmp_path / "toll").parent)
    job = JobSettings(model=TINY, episodes=20, comparisons=100)
    stories.run(stories.Settings(tmp_path / "w", 1, ("toll",), job, tmp_path / "r"))
    assert names_in(tmp_path / "r") == {"stories.json", "stories.md"}
    (run,) = read_json(tmp_path / "r" / "stories.json")["runs"]
    assert 0 <= run["score"]["share_of_range"] <= 1


def test_avril_stories(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    avril = script("avril_stories")
    from avril_lib import demonstrators

    short = partial(demonstrators.train_drrn, config=DRRNConfig(steps=320, warm_up=160))
    monkeypatch.setattr(demonstrators, "train_drrn", short)
    avril.run(
        avril.Settings(
            tmp_path / "w", tmp_path / "f", episodes=10, stories=("high_water",), kl_weights=(1.0,),
            model=TINY, seeds=(1, 2), config=replace(avril.AVRILConfig(), steps=10), results=tmp_path / "r",
        )
    )  # fmt: skip
    assert len(read_json(tmp_path / "r" / "avril_stories.json")["runs"]) == 8
    assert {"avril_stories.md", "avril_stories.png"} <= names_in(tmp_path / "r")


def test_intercept(script: Script, tmp_path: Path, story: Path) -> None:
    intercept = script("intercept")
    intercept.run(
        intercept.Settings(
            story, tmp_path / "w", TINY, episodes=30, comparisons=50, play=4, seeds=(1, 2),
            results=tmp_path / "r",
        )
    )  # fmt: skip
    assert names_in(tmp_path / "r") == {"intercept.json", "intercept.md", "intercept.svg"}
    runs = read_json(tmp_path / "r" / "intercept.json")["runs"]
    assert [(run["seed"], len(run["sweep"])) for run in runs] == [(1, 11), (2, 11)]


def test_judged_games(script: Script, tmp_path: Path, story: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = tmp_path / "starforge_choicescript"
    scenes.mkdir()
    (scenes / "startup.txt").write_text(SCENE)
    judged = script("judged_games")
    monkeypatch.setattr(judged, "STORIES", ("glass_quarter",))
    judged.run(
        judged.Settings(
            tmp_path, tmp_path / "w", TINY, episodes=10, comparisons=4, variable_comparisons=4, unlabelled=2,
            continuations=20, play=2, results=tmp_path / "r",
        )
    )  # fmt: skip
    assert names_in(tmp_path / "r") == {"judged_games.json", "judged_games.md", "judged_games.svg"}


def test_moralchoice(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moralchoice = script("moralchoice")
    from moralchoice_lib import fitting
    from moralchoice_lib.data import RULES

    grid = tuple(replace(config, steps=2) for config in fitting.GRID[::3])
    monkeypatch.setattr(fitting, "GRID", grid)
    monkeypatch.setattr(moralchoice, "GRID", grid)

    for name in ("low", "high"):
        with gzip.open(tmp_path / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(moral_case(name, i, RULES)) + "\n" for i in range(24))
    report = moralchoice.run(
        moralchoice.Settings(tmp_path, tmp_path / "w", tmp_path / "r", TINY, folds=2, seeds=1)
    )
    assert sum(report["decisions"].values()) == 48
    assert names_in(tmp_path / "r") == {"moralchoice.json", "moralchoice.md", "moralchoice.svg"}


def test_ethical_theories(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theories = script("ethical_theories")
    from ethical_theories_lib import adaptation, games, labels, mutual, stages, tables, trainings

    for module in (games, labels, mutual, stages, tables, trainings, adaptation, theories):
        monkeypatch.setattr(module, "STORIES", ("gate", "hall"))
    for name in ("gate", "hall"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "startup.txt").write_text(MORAL_STORY.replace("gate", name), "utf-8")
    monkeypatch.setattr(games, "open_story", lambda name: open_story(str(tmp_path / name)))
    monkeypatch.setattr(stages, "ACCURACIES", (0.5, 0.7, 0.8, 0.9, 1.0))
    write_ethics(tmp_path / "ethics")
    (tmp_path / "moralchoice").mkdir()
    from moralchoice_lib.data import RULES

    for name in ("low", "high"):
        with gzip.open(tmp_path / "moralchoice" / f"{name}_ambiguity.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(moral_case(name, i, RULES)) + "\n" for i in range(24))
    settings = theories.Settings(
        tmp_path, out=tmp_path / "w", train=True, raters=("utilitarianism", "virtue", "duty"),
        rater=theories.RaterSettings(TINY, depth=2, layers=1, steps=2, epochs=0.1),
        agent=theories.AgentSettings(episodes=8, comparisons=20, steps=4, bc_steps=4, seeds=1),
        stories=("gate",), sizes_of_data=(8,), seeds=(0, 1), results=tmp_path / "r",
    )  # fmt: skip
    theories.run(settings)
    with pytest.raises(InputError, match=r"utilitarianism-2\.json: lacks texts of these games"):
        theories.run(replace(settings, train=False, seeds=(0, 1, 2)))
    theories.run(replace(settings, train=False))
    report = read_json(tmp_path / "r" / "ethical_theories.json")
    assert [row["name"] for row in report["raters"]] == list(settings.raters)
    assert set(report["agreement"]["stories"]["virtue"]) == {"traits of the act"}
    assert len(report["noise"]["gate"]["rows"]) == 5 + 2
    assert set(report["noise"]["gate"]["places"]) == {"utilitarianism", "virtue"}
    assert len(report["trainings"]["virtue"]["balanced"]["gate"]) == 2
    assert report["criterion"]["spearman"]["virtue"]["runs"] == 1
    (agents,) = report["agents"].values()
    assert len(agents["differing"]["decisions"]) == 2
    assert [label["objective"] for label in read_json(tmp_path / "w" / "gate.pluralign.json")["labels"]] == [
        "utilitarian",
        "virtuous",
    ]
    assert len(agents["lines"]["virtue"]["violations"]) == 11
    name = "ethical_theories"
    assert names_in(tmp_path / "r") == {f"{name}.json", f"{name}.md", f"{name}-noise.svg"}


def write_ethics(folder: Path) -> None:
    """Rows in the form of ETHICS: scenarios with one good and one bad variant each."""
    folder.mkdir()
    rows = {
        "utilitarianism": [
            {"chosen": f"I met {i} friends and ate cake.", "rejected": f"I met {i} friends and ate dust."}
            for i in range(60)
        ],
        "justice": [
            {"label": str(label), "scenario": f"I deserve {what} from {i} firms because I work for all {i}."}
            for i in range(60)
            for label, what in ((1, "pay"), (0, "gold"))
        ],
        "virtue": [
            {"label": str(label), "scenario": f"Ann gave {i} coins away. [SEP] {trait}"}
            for i in range(60)
            for label, trait in ((1, "generous"), (0, "cruel"), (0, "lazy"))
        ],
    }  # fmt: skip
    for name, own in rows.items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as handle:
            handle.writelines(json.dumps(row) + "\n" for row in own)
