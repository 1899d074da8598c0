"""Multi-objective DPO: DPO at one end, the planted weighted sum between, the same weights after a kill."""

import dataclasses
import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from planted import pairs
from safetensors.torch import load_file
from scipy.stats import binomtest

from pluralign.core import Decision, InputError, OptionRewards, PreferencePair, Segment, SteeringWeights, Step
from pluralign.folders.card import load_card
from pluralign.learn.texts.data import encode_completion_pairs
from pluralign.learn.texts.log_probs import row_log_probs
from pluralign.learn.texts.modpo import Margin, MODPOConfig, fit_modpo, policy_margin
from pluralign.learn.texts.policies import DPOConfig, fit_dpo, fit_policy
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import ForestLoss
from pluralign.learn.texts.training_options import Training
from pluralign.lm.backbone import load_backbone
from pluralign.lm.completion_trees import CompletionReader
from pluralign.lm.trunk import forest_hidden_states
from pluralign.rewards.ensemble import measure_scales
from pluralign.rewards.function import FunctionReward

TRAINING = Training(epochs=2, learning_rate=3e-3, bf16=False)
HALF = SteeringWeights(lively=0.5, calm=0.5)
GAP = 2.0
LABEL = 0.75


class Calm:
    """A planted reward, against what the pairs prefer: a full stop is worth ``gap``."""

    def __init__(self, gap=GAP, limit=None):
        self.name, self.counts = "calm", {}
        self.gap, self.limit, self.scored = gap, limit, 0

    def render(self, messages, opens):
        raise NotImplementedError

    def score_decisions(self, decisions):
        known = list(decisions)
        if self.limit is not None and self.scored + len(known) > self.limit:
            raise KeyboardInterrupt
        self.scored += len(known)
        means = [np.array([self.gap * text.endswith(".") for text in d.options]) for d in known]
        return [OptionRewards(mean, np.zeros_like(mean)) for mean in means]


def weights_of(folder):
    return load_file(folder / "trunk.safetensors")


def assert_same_weights(one, other):
    other = weights_of(other)
    assert all(torch.equal(value, other[name]) for name, value in weights_of(one).items())


def implicit_gaps(backbone, rows):
    """How much more than before the policy prefers '!' to '.', nats."""
    data = encode_completion_pairs(rows, CompletionReader(backbone.tokenizer, 99))
    after, before = (
        row_log_probs(_Plain(b.model), data, 4096, bf16=False)
        for b in (backbone, load_backbone("tiny-random"))
    )
    gained = after - before
    return gained[:, 0] - gained[:, 1]


class _Plain:
    def __init__(self, model):
        self.model = model

    def __call__(self, batch):
        return forest_hidden_states(self.model, batch.forest)


@pytest.mark.parametrize("tuning", [{}, {"lora_rank": 4}])
def test_all_the_weight_on_the_own_objective_is_dpo(tuning, tmp_path):
    rows = [*pairs(24), *pairs(8, seed=2, split="validation")]
    settings = dataclasses.replace(TRAINING, **tuning)
    fit_dpo(rows, Run("tiny-random", tmp_path / "dpo", settings, seed=3), DPOConfig(beta=0.2))
    margin = Calm(limit=0)
    fit_modpo(
        rows, Run("tiny-random", tmp_path / "modpo", settings, seed=3), MODPOConfig(beta=0.2),
        margins={"calm": Margin(margin)}, weights=SteeringWeights(lively=1, calm=0),
    )  # fmt: skip
    one, other = (load_card(tmp_path / name).figures for name in ("dpo", "modpo"))
    assert one["curve"] == other["curve"]
    assert one["validation_accuracy"] == other["validation_accuracy"]
    file = "adapter/adapter_model.safetensors" if tuning else "trunk.safetensors"
    one, other = (load_file(tmp_path / name / file) for name in ("dpo", "modpo"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_weight_moves_the_policy_between_conflicting_objectives(tmp_path):
    # Labels that are right three times in four: the own reward's gap is log 3, the margin's -GAP.
    rows = [dataclasses.replace(pair, weight=LABEL) for pair in pairs(104)]
    train, unseen = rows[:64], rows[64:]
    settings = dataclasses.replace(TRAINING, epochs=20, batch_size=16)
    found = []
    for own in (1.0, 0.7, 0.4, 0.1):
        policy = fit_modpo(
            train, Run("tiny-random", tmp_path / str(own), settings), MODPOConfig(beta=1.0),
            margins={"calm": Margin(Calm())}, weights=SteeringWeights(lively=own, calm=1 - own),
        )  # fmt: skip
        planted = own * math.log(LABEL / (1 - LABEL)) - (1 - own) * GAP
        assert implicit_gaps(policy, train).mean().item() == pytest.approx(planted, abs=0.15)
        found.append(implicit_gaps(policy, unseen))
    for more, less in pairwise(found):
        assert binomtest(int((more > less).sum()), len(more), alternative="greater").pvalue < 0.001
    assert found[0].mean() > 0 > found[-1].mean()


@pytest.mark.parametrize("kill_at", [3, 7])
def test_interrupted_and_continued_ends_with_the_same_weights(kill_at, tmp_path):
    def fit(name, margin):
        run = Run("tiny-random", tmp_path / name, TRAINING)
        fit_modpo(pairs(32), run, margins={"calm": Margin(margin)}, weights=HALF)

    fit("whole", Calm())
    forwards = 0

    def dies(module, arguments, result):
        nonlocal forwards
        forwards += isinstance(module, ForestLoss)
        if forwards == kill_at:
            raise KeyboardInterrupt

    hook = torch.nn.modules.module.register_module_forward_hook(dies)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit("cut", Calm())
    finally:
        hook.remove()
    assert not (tmp_path / "cut" / "card.json").exists()
    fit("cut", Calm(limit=0))
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")


def test_scoring_goes_on_where_it_stopped(tmp_path):
    run = Run("tiny-random", tmp_path / "cut", dataclasses.replace(TRAINING, epochs=0.1))
    cut = Calm(limit=100)
    with pytest.raises(KeyboardInterrupt):
        fit_modpo(pairs(150), run, margins={"calm": Margin(cut)}, weights=HALF)
    rest = Calm()
    fit_modpo(pairs(150), run, margins={"calm": Margin(rest)}, weights=HALF)
    assert (cut.scored, rest.scored) == (64, 86)
    whole = dataclasses.replace(run, out=tmp_path / "whole")
    fit_modpo(pairs(150), whole, margins={"calm": Margin(Calm())}, weights=HALF)
    assert_same_weights(tmp_path / "whole", tmp_path / "cut")


def test_a_scale_multiplies_and_standardising_divides_by_the_spread(tmp_path):
    rows = pairs(24)
    decisions = [pair.chosen.steps[0].decision for pair in rows]

    def fit(name, margin, config=None):
        run = Run("tiny-random", tmp_path / name, TRAINING)
        fit_modpo(rows, run, config, margins={"calm": margin}, weights=HALF)
        return load_card(run.out).figures["margins"]["calm"]

    # Powers of two, so that nothing is rounded.
    told = fit("scaled", Margin(Calm(4.0), scale=0.5))
    assert told == {"agreement": 0.0, "spread": 2.0}
    fit("plain", Margin(Calm(2.0)))
    assert_same_weights(tmp_path / "scaled", tmp_path / "plain")
    (scale,) = measure_scales([Calm(4.0)], decisions)
    assert told["spread"] == pytest.approx(scale.deviation)
    fit("standard", Margin(Calm(8.0), scale=3.0), MODPOConfig(standardise=True))
    assert_same_weights(tmp_path / "standard", tmp_path / "plain")


def test_completions_of_two_prompts_are_scored_each_after_its_own(tmp_path):
    class OfPrompt(Calm):
        def score_decisions(self, decisions):
            means = [np.array([float(d.prompt.split()[0])] * len(d.options)) for d in decisions]
            return [OptionRewards(mean, mean) for mean in means]

    ends = [
        [Segment(f"{i}-{side}", 0, (Step(Decision(f"{i + side} say:", (" a",)), 0),)) for side in (0, 1)]
        for i in range(8)
    ]
    rows = [PreferencePair(*both, objective="lively") for both in ends]
    run = Run("tiny-random", tmp_path, TRAINING)
    fit_modpo(rows, run, margins={"calm": Margin(OfPrompt())}, weights=HALF)
    assert load_card(tmp_path).figures["margins"]["calm"] == {"agreement": 0.0, "spread": 0.5}


def test_ties_do_not_agree_or_disagree(tmp_path):
    rows = [dataclasses.replace(pair, weight=0.5) if i % 2 else pair for i, pair in enumerate(pairs(8))]
    labelled = {pair.chosen.steps[0].decision.prompt for pair in rows if pair.weight == 1}

    class Sometimes(Calm):
        """Calm where there is a label, the opposite elsewhere."""

        def score_decisions(self, decisions):
            known = list(decisions)
            found = super().score_decisions(known)
            signs = [1 if one.prompt in labelled else -1 for one in known]
            return [OptionRewards(sign * one.mean, one.sigma) for sign, one in zip(signs, found, strict=True)]

    run = Run("tiny-random", tmp_path, dataclasses.replace(TRAINING, epochs=0.1))
    fit_modpo(rows, run, margins={"calm": Margin(Sometimes())}, weights=HALF)
    assert load_card(tmp_path).figures["margins"]["calm"]["agreement"] == 0.0


def test_several_margins_and_their_order(tmp_path):
    margins = {"calm": Margin(Calm(2.0)), "quiet": Margin(Calm(-1.0))}
    weights = SteeringWeights(lively=0.5, calm=0.25, quiet=0.25)
    for name, given in (("a", margins), ("b", dict(reversed(margins.items())))):
        fit_modpo(pairs(24), Run("tiny-random", tmp_path / name, TRAINING), margins=given, weights=weights)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    # Together they are one of half the weight.
    fit_modpo(
        pairs(24), Run("tiny-random", tmp_path / "one", TRAINING), margins={"calm": Margin(Calm(0.5))},
        weights=HALF,
    )  # fmt: skip
    assert_same_weights(tmp_path / "a", tmp_path / "one")


def test_another_reward_of_the_same_name_is_another_run(tmp_path):
    def fit(*args, **settings):
        margins = {"calm": Margin(*args, **settings)}
        fit_modpo(pairs(4), Run("tiny-random", tmp_path, TRAINING), margins=margins, weights=HALF)

    def calm(prompts, texts, sign=1):
        return [sign * (text[-1] == ".") for text in texts]

    fit(FunctionReward("calm", calm))
    with pytest.raises(InputError, match=r"margins\.calm\.scorer_source was '\w+', is '\w+'"):
        fit(FunctionReward("calm", partial(calm, sign=-1)))


def test_only_what_was_trained_as_an_implicit_reward_is_one(tmp_path):
    scales = []
    for number, reading in enumerate(({}, {"per_token": True}, {"reference": False})):
        out = tmp_path / str(number)
        fit_policy(pairs(8), model="tiny-random", out=out, training=TRAINING, **reading)
        scales.append(policy_margin(out).scale)
    assert scales == [0.1, 1.0, 1.0]


def test_refusals(tmp_path):
    run = Run("tiny-random", tmp_path / "x", TRAINING)

    def fit(weights, margins=None, config=None, run=run):
        fit_modpo(pairs(4), run, config, margins=margins or {"calm": Margin(Calm())}, weights=weights)

    with pytest.raises(InputError, match="unknown objective 'kind'; known: calm, lively"):
        fit(SteeringWeights(lively=0.5, kind=0.5))
    with pytest.raises(InputError, match="no weight for 'calm'"):
        fit(SteeringWeights(lively=1))
    with pytest.raises(InputError, match="'lively' is what the pairs are about; its weight must be above 0"):
        fit(SteeringWeights(lively=0, calm=1))
    with pytest.raises(InputError, match="'lively' is what the pairs are about"):
        fit(SteeringWeights(lively=1), {"lively": Margin(Calm())})
    with pytest.raises(InputError, match="beta"):
        MODPOConfig(beta=0)
    assert not run.out.exists()
    with pytest.raises(InputError, match="no spread"):
        fit(HALF, {"calm": Margin(Calm(0.0))}, MODPOConfig(standardise=True))
    other = Run("tiny-random", tmp_path / "y", TRAINING)
    with pytest.raises(InputError, match="rewards of 'calm' are not numbers in training pair 1"):
        fit(HALF, {"calm": Margin(Calm(math.inf))}, run=other)
    third = Run("tiny-random", tmp_path / "z", TRAINING)
    fit(HALF, run=third)
    with pytest.raises(InputError, match=r"weights\.calm was 0\.5, is 0\.2"):
        fit(SteeringWeights(lively=0.8, calm=0.2), run=third)
    with pytest.raises(InputError, match=r"margins\.calm\.source was None, is 'another'"):
        fit(HALF, {"calm": Margin(Calm(), provenance={"source": "another"})}, run=third)
    with pytest.raises(InputError, match="holds another run"):
        Session("dpo", third, {}, pairs(4), vocabulary=True)
