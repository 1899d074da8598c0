"""Advantage-weighted cloning of samples: known probabilities at a fork, exact weights, same weights after a
stop."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from pluralign.core import InputError
from pluralign.data.examples import ScoredCompletion
from pluralign.folders.card import load_card
from pluralign.folders.tuned import load_language_policy
from pluralign.learn.texts.awr import AWRConfig, WeightedTokensLoss, advantages_of, fit_awr
from pluralign.learn.texts.data import batches
from pluralign.learn.texts.run import Run
from pluralign.learn.texts.scored import as_demonstrations
from pluralign.learn.texts.session import Session
from pluralign.learn.texts.training import ForestLoss
from pluralign.learn.texts.training_options import Training
from pluralign.lm.prompts import completion_ids, prompt_ids

TRAINING = Training(epochs=2, learning_rate=3e-3, bf16=False)


def samples(prompts=8, split="train"):
    """A word and one of two ends for each prompt; the exclamation mark has more reward, by 1."""
    return [
        ScoredCompletion(f"Say {split} {i}:", f" so{end}", i + reward, "lively", split)
        for i in range(prompts)
        for end, reward in (("!", 1.0), (".", 0.0))
    ]


def probability(model, tokenizer, prompt, prefix, token):
    ids = [*prompt_ids(tokenizer, prompt).ids, *completion_ids(tokenizer, prefix)[:-1]]
    with torch.no_grad():
        log_probs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    return float(log_probs[completion_ids(tokenizer, token)[0]].exp())


def test_the_probabilities_at_a_fork_are_known(tmp_path):
    training = dataclasses.replace(TRAINING, epochs=40, learning_rate=1e-2)
    fit_awr([*samples(), *samples(2, "validation")], Run("tiny-random", tmp_path, training))
    policy = load_language_policy(tmp_path)
    # Advantages are 0.5 and -0.5, as is their deviation; with beta 0.5 weights are exp(2) and exp(-2).
    expected = math.exp(2) / (math.exp(2) + math.exp(-2))
    found = [
        probability(policy.model, policy.tokenizer, f"Say train {i}:", " so", end)
        for i in (0, 5)
        for end in "!."
    ]
    assert found == pytest.approx([expected, 1 - expected] * 2, abs=0.02)
    card = load_card(tmp_path)
    assert (card.method, card.objective, card.config["beta"]) == ("awr", "lively", 0.5)
    assert card.figures["branching_tokens"] == 16
    assert card.figures["branching_share"] == round(16 / card.data["completion_tokens"], 4)
    assert card.figures["advantage_deviation"] == pytest.approx(0.5)
    assert card.figures["validation_weighted_nll"] > 0


def test_the_loss_is_the_weighted_mean(tmp_path):
    rows = [
        *samples(3), ScoredCompletion("Say:", " so many words", 4.0, "lively"),
        ScoredCompletion("Say:", " so", 1.0, "lively"), ScoredCompletion("Say:", "", -2.0, "lively"),
        ScoredCompletion("Say:", " so", 3.0, "lively"),
    ]  # fmt: skip
    texts, run = as_demonstrations(rows, Run("tiny-random", tmp_path, TRAINING))
    session = Session("awr", run, {}, texts, demonstrations=True, vocabulary=True)
    found = advantages_of(session.data, torch.tensor([row.reward for row in rows], dtype=torch.float64))
    lengths = session.data.lengths[:, 0].tolist()
    assert [len(own) for own in found.values] == lengths
    # Prompts are not compared with one another; a sample's advantages add up to its own.
    sums = [float(own.sum()) for own in found.values]
    assert sums == pytest.approx([0.5, -0.5] * 3 + [2.5, 0.5, -3.5, 0.5])
    weights = [(own / 0.7).exp().float() for own in found.values]
    total = sum(float(own.sum()) for own in weights)
    module = WeightedTokensLoss(weights)
    (batch,) = batches(session.data, range(len(rows)), 4096)
    loss = module(session.trunk.model, session.trunk(batch), batch).item()
    expected = 0.0
    for row, own in zip(texts, weights, strict=True):
        tokenizer = session.backbone.tokenizer
        prompt = list(prompt_ids(tokenizer, row.prompt).ids)
        ids = completion_ids(tokenizer, row.completion)[: len(own)]
        with torch.no_grad():
            logits = session.trunk.model(torch.tensor([prompt + ids])).logits[0]
        taken = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(ids)[:, None])[:, 0]
        expected -= float((own * taken).sum()) / total
    assert loss == pytest.approx(expected, rel=1e-5)
    parts = list(batches(session.data, range(len(rows)), 20))
    assert len(parts) > 2
    found = [module(session.trunk.model, session.trunk(part), part).item() for part in parts]
    assert sum(found) == pytest.approx(loss, rel=1e-5)


def test_interrupted_and_continued_ends_with_the_same_weights(tmp_path):
    fit_awr(samples(), Run("tiny-random", tmp_path / "whole", TRAINING))
    forwards = 0

    def dies(module, arguments, result):
        nonlocal forwards
        forwards += isinstance(module, ForestLoss)
        if forwards == 3:
            raise KeyboardInterrupt

    cut = Run("tiny-random", tmp_path / "cut", TRAINING)
    hook = torch.nn.modules.module.register_module_forward_hook(dies)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_awr(samples(), cut)
    finally:
        hook.remove()
    fit_awr(samples(), cut)
    whole, continued = (load_file(tmp_path / name / "trunk.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, continued[name]) for name, value in whole.items())
    with pytest.raises(InputError, match="rewards was"):
        fit_awr([dataclasses.replace(row, reward=2 * row.reward) for row in samples()], cut)
    with pytest.raises(InputError, match="beta was"):
        fit_awr(samples(), cut, AWRConfig(beta=1.0))


def test_refusals(tmp_path):
    run = Run("tiny-random", tmp_path / "x", TRAINING)
    (one, other) = samples(1)
    for rows, message in (
        ([], "no training completion"),
        (samples(2, "validation"), "no training completion"),
        ([one, 3], "row 2: expected a completion with its reward"),
        ([one, dataclasses.replace(other, reward=math.nan)], "row 2, field 'reward': must be finite"),
        ([one, dataclasses.replace(other, objective="calm")], "of one objective, found several"),
        ([one, dataclasses.replace(other, reward=one.reward)], "nothing did better than its siblings"),
        ([one, dataclasses.replace(one, reward=5.0)], "nothing did better than its siblings"),
        ([one, dataclasses.replace(other, prompt="Other:")], "nothing did better than its siblings"),
    ):
        with pytest.raises(InputError, match=message):
            fit_awr(rows, run)
    with pytest.raises(InputError, match="field 'beta'"):
        AWRConfig(beta=0)
    assert not (tmp_path / "x").exists()
    # Beyond the limit they differ in their ends alone.
    long = [dataclasses.replace(row, completion=" a" * 40 + row.completion) for row in (one, other)]
    short = Run("tiny-random", None, dataclasses.replace(TRAINING, max_length=24))
    with pytest.raises(InputError, match="field 'max_length': within 24 tokens no completion differs"):
        fit_awr(long, short)
