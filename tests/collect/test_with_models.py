"""The stages' own protocols against the models layer as it is: a tiny language model with random weights."""

import shutil

import numpy as np
import pytest
from collect_fakes import SCORE, TowerGame

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.collect.drrn_training import train_drrn
from pluralign.collect.number_chooser import NumberChooser
from pluralign.collect.open import open_chooser
from pluralign.collect.roll_out import play
from pluralign.core import InputError, UniformPolicy
from pluralign.games.choicescript.load import list_stories, load_story
from pluralign.games.choicescript.run.game import ChoiceScriptGame
from pluralign.games.harms import BUILTIN_OBJECTIVES
from pluralign.learn.options.bc import BCConfig, fit_bc
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.language_model import LanguageModel
from pluralign.options.drrn import DRRNConfig, DRRNPolicy
from pluralign.options.features import FeatureStore
from pluralign.options.language_policy import LanguageModelPolicy
from pluralign.options.open import Models


@pytest.fixture(scope="module")
def backbone():
    return make_tiny_backbone()


def test_a_language_model_plays_whatever_the_batch(backbone):
    def episodes(batch):
        chooser = NumberChooser(LanguageModel(backbone), re_asks=1, max_new_tokens=3)
        settings = {"episodes": 3, "seed": 0, "objectives": [SCORE], "max_steps": 3}
        return list(play(TowerGame, chooser, batch=batch, **settings))

    alone = episodes(1)
    assert episodes(3) == alone
    # Random weights rarely write a number: most questions end in the marked fall-back.
    asked = [s for t in alone for s in t.steps if len(s.decision.options) > 1]
    assert any(s.info.get("random") and len(s.info["malformed"]) == 2 for s in asked)


def test_episodes_at_another_temperature_are_not_added_to_a_file(backbone, tmp_path):
    def collected(temperature, episodes):
        policy = LanguageModelPolicy(LanguageModel(backbone), temperature=temperature)
        settings = {"seed": 0, "objectives": [SCORE], "max_steps": 3, "progress": False}
        return collect(TowerGame, PolicyChooser(policy), tmp_path / "t.jsonl", episodes=episodes, **settings)

    assert collected(1.0, 1).new_episodes == 1
    with pytest.raises(InputError, match=r"'settings': was started with .*, not .*temperature"):
        collected(0.1, 2)
    assert collected(1.0, 2).new_episodes == 1


@pytest.mark.parametrize("mode", ["likelihood", "number"])
def test_episodes_of_a_model_that_was_replaced_are_not_added_to_a_file(mode, tmp_path):
    def collected(seed, episodes):
        model = LanguageModel(make_tiny_backbone(seed))
        chooser = (
            NumberChooser(model, re_asks=0, max_new_tokens=2)
            if mode == "number"
            else PolicyChooser(LanguageModelPolicy(model))
        )
        settings = {"seed": 0, "objectives": [SCORE], "max_steps": 2, "progress": False}
        return collect(TowerGame, chooser, tmp_path / "t.jsonl", episodes=episodes, **settings).new_episodes

    assert [collected(0, 1), collected(0, 2)] == [1, 1]
    with pytest.raises(InputError, match="field 'model': was started with"):
        collected(1, 3)


def test_episodes_of_an_agent_that_was_trained_again_are_not_added_to_a_file(tmp_path):
    models = Models("tiny-random")
    played = list(play(TowerGame, PolicyChooser(UniformPolicy()), episodes=3, seed=0, objectives=[SCORE]))

    def collected(seed, episodes):
        agent = tmp_path / "agent"
        if not agent.exists():
            fit_bc(played, store=models.store, out=agent, config=BCConfig(steps=2), seed=seed)
        chooser = open_chooser(str(agent), TowerGame, models)
        settings = {"seed": 0, "objectives": [SCORE], "progress": False}
        return collect(TowerGame, chooser, tmp_path / "t.jsonl", episodes=episodes, **settings).new_episodes

    assert [collected(0, 1), collected(0, 2)] == [1, 1]
    shutil.rmtree(tmp_path / "agent")
    with pytest.raises(InputError, match=r"field 'settings': was started with .*'card'"):
        collected(1, 3)


def test_drrn_reads_a_trunks_features(backbone, tmp_path):
    store = FeatureStore(backbone)
    config = DRRNConfig(steps=1500, warm_up=300, environments=8)
    policy = train_drrn(TowerGame, store, config=config, seed=0, reward=SCORE.reward)
    policy.save(tmp_path)
    loaded = DRRNPolicy.load(tmp_path, store)
    game = TowerGame()
    game.reset()
    game.choose(0)
    [row] = loaded.log_probs([game.decision])
    assert np.exp(row).sum() == pytest.approx(1.0)
    curve = policy.card.figures["curve"]
    assert curve[-1][1] > curve[0][1]


@pytest.mark.parametrize("name", list_stories())
def test_stories_play(name):
    from pluralign.collect.roll_out import roll_out

    story = load_story(name)
    played = roll_out(
        lambda: ChoiceScriptGame(story), UniformPolicy(), episodes=20, seed=0, objectives=BUILTIN_OBJECTIVES
    )
    for t in played:
        assert t.terminated
        assert t.source == name
        assert t.returns()["score"] == t.counts().get("points", 0.0)
