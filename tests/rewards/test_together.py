"""Rewards on one trunk: its common layers are in memory once, are computed once, and change no reward."""

import pytest
import torch
from architectures import FEW, make
from tiny_rewards import DECISIONS, demonstrations

import pluralign as pl
from pluralign.core import Decision, InputError, OptionRewards, SteeringWeights
from pluralign.learn.texts.ensemble import fit_ensemble, open_members
from pluralign.learn.texts.rewards import fit_bradley_terry
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.sft import fit_sft
from pluralign.learn.texts.training_options import Training
from pluralign.lm.layers import trunk_layers
from pluralign.lm.tiny import make_tiny_tokenizer
from pluralign.pair.recipes import pair_completions
from pluralign.rewards import together
from pluralign.rewards.open import load_reward, load_rewards, shared_trunk
from pluralign.rewards.reward_model import RewardModel
from pluralign.rewards.together import score_together
from pluralign.steer.best_of_n import WeightedReward

KINDS = {
    "one": {"layers": 1}, "another": {"layers": 1, "seed": 1}, "head": {"layers": 0}, "short": {"layers": 1,
    "max_length": 30}, "adapter": {"lora_rank": 2}, "whole": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    pairs = pair_completions(demonstrations("!"), demonstrations("."), objective="lively")
    for name, own in KINDS.items():
        options = {"epochs": 1, "learning_rate": 3e-3, "bf16": False, "max_length": 64} | own
        seed = options.pop("seed", 0)
        fit_bradley_terry(pairs, Run("tiny-random", folder / name, Training(**options), seed))
    return {name: folder / name for name in KINDS}


def watched(models):
    """Number of passes through each model's first and last layer, counted as they run."""
    passes = {name: [0, 0] for name in models}

    def counter(name, place):
        def count(*_):
            passes[name][place] += 1

        return count

    for name, model in models.items():
        layers = trunk_layers(model.backbone.model)
        for place, layer in enumerate((layers[0], layers[-1])):
            # What is skipped runs no attention.
            layer.self_attn.register_forward_pre_hook(counter(name, place))
    return passes


def same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.mean.tolist() == other.mean.tolist()
        assert one.sigma.tolist() == other.sigma.tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rewards_are_those_of_each_alone(folders, dtype):
    alone = {name: load_reward(folder, dtype=dtype) for name, folder in folders.items()}
    loaded = load_rewards(folders, dtype=dtype)
    found = score_together(loaded, dict.fromkeys(folders, DECISIONS))
    assert list(found) == list(folders)
    for name, reward in alone.items():
        same(found[name], reward.score_decisions(DECISIONS))
        assert loaded[name].counts == reward.counts, name
    assert found["one"][0].mean.tolist() != found["another"][0].mean.tolist()


def test_common_layers_are_in_memory_once_and_computed_once(folders):
    rewards = load_rewards(folders)
    first = {name: id(next(trunk_layers(r.backbone.model)[0].parameters())) for name, r in rewards.items()}
    last = {name: id(next(trunk_layers(r.backbone.model)[-1].parameters())) for name, r in rewards.items()}
    assert first["one"] == first["another"] == first["head"] == first["short"]
    assert len({*first.values()}) == 3
    assert len({*last.values()}) == len(KINDS)
    score_together(rewards, dict.fromkeys(rewards, DECISIONS))
    passes = watched(rewards)
    score_together(rewards, dict.fromkeys(rewards, DECISIONS))
    # The first of those together computes the lower layers for all; its layers end where the others begin.
    assert passes == {
        "one": [1, 1], "another": [0, 1], "head": [0, 1], "short": [1, 1], "adapter": [1, 1], "whole": [1, 1]
    }  # fmt: skip


def test_other_texts_are_scored_apart(folders):
    rewards = load_rewards({name: folders[name] for name in ("one", "another")})
    other = [Decision("Say b:", (" b",))]
    found = score_together(rewards, {"one": DECISIONS, "another": other})
    same(found["one"], load_reward(folders["one"]).score_decisions(DECISIONS))
    same(found["another"], load_reward(folders["another"]).score_decisions(other))


def test_one_reward_under_two_names_and_training_of_one_leave_the_other(folders):
    rewards = load_rewards({"a": folders["head"], "b": folders["head"], "one": folders["one"]})
    found = score_together(rewards, dict.fromkeys(rewards, DECISIONS))
    same(found["a"], found["b"])
    with torch.no_grad():
        for weight in trunk_layers(rewards["one"].backbone.model)[-1].parameters():
            weight.zero_()
    same(rewards["a"].score_decisions(DECISIONS), found["a"])


def test_loaded_rewards_are_kept_and_mistakes_found_first(folders, tmp_path):
    loaded = load_reward(folders["one"])
    assert load_rewards({"x": loaded})["x"] is loaded
    with pytest.raises(InputError, match="no such folder"):
        load_rewards({"one": folders["one"], "missing": tmp_path / "missing" / "folder"})
    assert load_rewards({}) == {}


def test_closed_forms_have_their_base_model_in_common(tmp_path):
    for seed in (0, 1):
        options = Training(epochs=1, bf16=False, lora_rank=2)
        fit_sft(demonstrations("!")[:4], Run("tiny-random", tmp_path / f"p{seed}", options, seed))
    specs = {f"p{seed}": f"closed-form:{tmp_path / f'p{seed}'}" for seed in (0, 1)}
    rewards = load_rewards(specs)
    assert rewards["p0"].reference.model is rewards["p1"].reference.model
    found = score_together(rewards, dict.fromkeys(rewards, DECISIONS))
    for name, spec in specs.items():
        same(found[name], load_reward(spec).score_decisions(DECISIONS))


class Doubled(RewardModel):
    """A reward model that scores in a way of its own."""

    def score_decisions(self, decisions):
        return [OptionRewards(2 * own.mean, own.sigma) for own in super().score_decisions(decisions)]


def test_classes_that_score_in_another_way_do_so(folders):
    plain, other = load_rewards({name: folders[name] for name in ("one", "another")}).values()
    rewards = {"plain": plain, "doubled": Doubled("d", other.backbone, other.head, other.settings)}
    found = score_together(rewards, dict.fromkeys(rewards, DECISIONS))
    expected = other.score_decisions(DECISIONS)
    for one, own in zip(found["doubled"], expected, strict=True):
        assert one.mean.tolist() == (2 * own.mean).tolist()


def test_trunks_that_cannot_be_cut_are_computed_whole(folders, monkeypatch):
    names = ("one", "another", "head")
    expected = {name: load_reward(folders[name]).score_decisions(DECISIONS) for name in names}

    def refuse(*_):
        raise InputError("no list of layers")

    for place in "cut_trunk", "trunk_layers":
        with monkeypatch.context() as patched:
            if place == "cut_trunk":
                patched.setattr(RewardModel, "cut", refuse)
            else:
                patched.setattr(together, "trunk_layers", refuse)
            rewards = load_rewards({name: folders[name] for name in names})
            found = score_together(rewards, dict.fromkeys(names, DECISIONS))
        for name in names:
            same(found[name], expected[name])


def test_what_is_loaded_together_is_known_from_the_cards(folders, tmp_path):
    keys = {name: shared_trunk(folder) for name, folder in folders.items()}
    assert keys["one"] == keys["another"] == keys["head"]
    assert keys["short"] not in (keys["one"], None)
    assert keys["adapter"] is keys["whole"] is None
    assert shared_trunk("function:scores.py:score") is None


def test_scales_read_names_of_control_tokens_as_rewards_do(folders, tmp_path):
    """Scores of such texts are standardised by what these texts score, however they were loaded."""
    members = open_members([str(folders["one"]), str(folders["another"])])
    rows = [
        {"prompt": f"Name {i}:", "completion": f" <|im_end|> and {end}"} for i in range(4) for end in "!.?"
    ]
    plain = fit_ensemble(pl.load_demonstrations(rows), members, out=tmp_path / "plain")
    template = next(iter(members.values())).template
    quoted = fit_ensemble(pl.load_demonstrations(rows, template=template), members, out=tmp_path / "quoted")
    assert plain.scales == quoted.scales
    found = plain.score([row["prompt"] for row in rows], [row["completion"] for row in rows])
    assert found.mean() == pytest.approx(0, abs=1e-6)


def test_ensembles_and_weighted_rewards_score_their_members_together(folders, tmp_path):
    members = open_members([str(folders["one"]), str(folders["another"])])
    samples = [row for end in "!." for row in demonstrations(end)]
    ensemble = fit_ensemble(samples, members, out=tmp_path / "ensemble")
    again = load_reward(tmp_path / "ensemble")
    same(again.score_decisions(DECISIONS), ensemble.score_decisions(DECISIONS))
    passes = watched({str(number): member for number, member in enumerate(again.members)})
    again.score_decisions(DECISIONS)
    assert passes == {"0": [1, 1], "1": [0, 1]}
    rewards = load_rewards({name: folders[name] for name in ("one", "another")})
    weighted = WeightedReward(rewards, SteeringWeights(one=0.5, another=0.5))
    weighted.score_decisions(DECISIONS)
    passes = watched(rewards)
    found = weighted.score_decisions(DECISIONS)
    assert passes == {"one": [1, 1], "another": [0, 1]}
    each = [load_reward(folders[name]).score_decisions(DECISIONS)[0].mean for name in ("one", "another")]
    assert found[0].mean.tolist() == pytest.approx(sum(each) / 2, abs=1e-12)


@pytest.mark.parametrize("kind", FEW)
def test_all_kinds_of_trunks(kind, tmp_path):
    make(kind).save_pretrained(tmp_path / "base")
    make_tiny_tokenizer().save_pretrained(tmp_path / "base")
    pairs = pair_completions(demonstrations("!")[:4], demonstrations(".")[:4], objective="lively")

    def trained(layers):
        options = Training(epochs=1, learning_rate=3e-2, bf16=False, max_length=64, layers=layers)
        for seed in (0, 1):
            fit_bradley_terry(pairs, Run(str(tmp_path / "base"), tmp_path / f"rm{seed}", options, seed))

    try:
        trained(1)
    except InputError:
        # Some trunks can be read whole only.
        trained(0)
    folders = {str(seed): tmp_path / f"rm{seed}" for seed in (0, 1)}
    rewards = load_rewards(folders)
    # Beyond a window, and beyond the length from which position factors change.
    decisions = [*DECISIONS, Decision("Say a: " * 6, (" a" * 5, " b" * 7))]
    found = score_together(rewards, dict.fromkeys(rewards, decisions))
    for name, folder in folders.items():
        same(found[name], load_reward(folder).score_decisions(decisions))
    assert found["0"][0].mean.tolist() != found["1"][0].mean.tolist()
