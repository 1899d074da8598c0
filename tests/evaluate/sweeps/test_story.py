"""Sweeps on a story from Python."""

from pathlib import Path

import pytest
import torch
from small_story import STARTUP, write_story

from pluralign.core import InputError, UniformPolicy
from pluralign.evaluate.sweeps.story import sweep_story
from pluralign.options.checkpoint import Card, describe_source, save_policy
from pluralign.options.open import Models
from pluralign.options.option_policy import OptionHead, OptionPolicy

NAMES = ("score", "harm_avoidance")


def learn(folder: Path, objective: str, seed: int, models: Models) -> None:
    """Write an agent with random weights, under the name that `learn` gives it."""
    torch.manual_seed(seed)
    head = OptionHead(models.store.dimension, 0)
    torch.nn.init.normal_(head.outer.weight)
    card = Card("cpl", objective=objective, backbone=describe_source(models.store))
    save_policy(OptionPolicy(objective, head, models.store), folder, card)


def test_a_sweep_of_agents_that_were_learned_anew_is_not_continued(tmp_path: Path) -> None:
    models = Models("tiny-random", dtype="float32")
    folders = {name: tmp_path / name for name in NAMES}

    settings = {"steps": 2, "episodes": 2, "models": models, "folder": tmp_path / "sweep"}
    for seed, (name, folder) in enumerate(folders.items()):
        learn(folder, name, seed, models)
    sweep_story(folders, "salt_ledger", **settings, say=lambda _: None)
    learn(folders["score"], "score", 2, models)
    with pytest.raises(InputError, match=r"sweep\.jsonl:1, field 'cards': was started with"):
        sweep_story(folders, "salt_ledger", **settings, say=lambda _: None)


def test_a_sweep_on_a_story_that_was_changed_since_is_not_continued(tmp_path: Path) -> None:
    story, agents = write_story(tmp_path / "toll"), dict.fromkeys(NAMES, UniformPolicy())
    settings = {"steps": 2, "episodes": 4, "folder": tmp_path / "sweep"}
    sweep_story(agents, story, **settings, say=lambda _: None)
    # Neither the first page nor the points are others.
    worse = STARTUP.replace('["deception"]', '["deception", "stealing"]')
    (story / "startup.txt").write_text(worse, encoding="utf-8")
    with pytest.raises(InputError, match=r"sweep\.jsonl:1, field 'play': was started with"):
        sweep_story(agents, story, **settings, say=lambda _: None)
