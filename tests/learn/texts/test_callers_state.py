"""Training and loading neither depend on the caller's state of PyTorch nor change it."""

import threading

import pytest
import torch
from planted import pairs

import pluralign as pl
from pluralign.core import InputError
from pluralign.learn.texts.policies import fit_policy
from pluralign.learn.texts.rewards import fit_reward
from pluralign.learn.texts.training_options import Training
from pluralign.rewards.export import export_folder
from pluralign.rewards.open import load_reward

ROWS = [*pairs(24), *pairs(8, seed=2, split="validation")]
TRAINING = Training(lora_rank=2)


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reward")
    reward = fit_reward(ROWS, model="tiny-random", training=Training(layers=0), out=folder / "reward")
    policy = fit_policy(ROWS, model="tiny-random", training=TRAINING)
    return policy.fingerprint, reward.score(["Say a:"], [" b"])[0], folder / "reward"


def test_weights_are_in_float32_whatever_type_the_callers_tensors_have(trained, float64):
    assert fit_policy(ROWS, model="tiny-random", training=TRAINING).fingerprint == trained[0]
    again = fit_reward(ROWS, model="tiny-random", training=Training(layers=0))
    assert again.score(["Say a:"], [" b"])[0] == trained[1]
    assert load_reward(trained[2]).score(["Say a:"], [" b"])[0] == trained[1]
    assert torch.get_default_dtype() == torch.float64


def test_values_of_stories_are_learned_whatever_type_the_callers_tensors_have(tmp_path, float64):
    game = pl.open_story("salt_ledger")
    goals = game.info.select(["score", "harm_avoidance"])
    played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=4, seed=0, objectives=goals))
    store = pl.Models("tiny-random", tmp_path / "features").store

    def log_probs(name):
        config = pl.learn.QConfig(steps=2)
        values = pl.fit_q(played, store=store, out=tmp_path / name, objectives=goals, config=config)
        return values.log_probs([played[0].steps[0].decision])[0].tolist()

    found = log_probs("float64")
    torch.set_default_dtype(torch.float32)
    assert found == log_probs("float32")


def test_training_within_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(InputError, match=r"outside of torch.inference_mode"):
        fit_policy(ROWS, model="tiny-random", training=TRAINING)


def test_trainings_in_several_threads_give_what_each_gives_alone(trained):
    found = {}

    def fit(seed):
        found[seed] = fit_policy(ROWS, model="tiny-random", training=TRAINING, seed=seed).fingerprint

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == trained[0] != found[1]


def test_loading_and_exporting_a_reward_draw_no_random_numbers(trained, tmp_path):
    before = torch.get_rng_state()
    load_reward(trained[2])
    export_folder(trained[2], tmp_path / "classifier")
    assert torch.equal(torch.get_rng_state(), before)
