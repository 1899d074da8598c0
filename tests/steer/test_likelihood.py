"""Log-likelihoods of texts under mixtures: against transformers' own logits, and as an estimate of KL."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pluralign as pl
from pluralign.lm.backbone import load_backbone
from pluralign.steer import likelihood
from pluralign.steer.mixture_batch import token_log_probs

PROMPTS = ["once upon", "there was a"]
TEXTS = [" a time, and", " long way"]
CHAT = [{"role": "user", "content": "hello"}]


def load(adapters, power=0.0):
    return pl.load_policies("tiny-random", {**adapters, "base": "tiny-random"}, dtype="float32", power=power)


def by_hand(adapters, mix, weights, prompt, text, ended=False, temperature=1.0):
    """The power mean of transformers' own predictions, token by token."""
    before = mix.text_ids(prompt) if isinstance(prompt, str) else mix.chat_ids(prompt)
    ids = [*before, *mix.answer_ids(text, before, chat=not isinstance(prompt, str), ended=ended)]
    predictions = []
    for name in weights:
        adapter = adapters.get(name)
        backbone = load_backbone("tiny-random", dtype=torch.float32, adapter=adapter)
        with torch.inference_mode():
            logits = backbone.model(input_ids=torch.tensor([ids])).logits[0]
        predictions.append(logits.double().log_softmax(-1))
    shares = torch.tensor(list(weights.values()), dtype=torch.float64)[:, None, None]
    if mix.power == 0:
        mixed = (shares * torch.stack(predictions)).sum(0).log_softmax(-1)
    else:
        mixed = (shares * torch.stack(predictions).exp()).sum(0).log()
    mixed = (mixed / temperature).log_softmax(-1)
    return sum(float(mixed[place - 1, ids[place]]) for place in range(len(before), len(ids)))


@pytest.mark.parametrize("power", [0.0, 1.0], ids=["geometric", "arithmetic"])
def test_mixtures_are_those_of_their_policies_predictions(adapters, power):
    mix = load(adapters, power)
    mixes = [{"calm": 0.7, "lively": 0.3}, {"lively": 1.0}, {"base": 1.0}]
    found = pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=mixes)
    assert found.shape == (3, 2)
    for row, weights in zip(found, mixes, strict=True):
        expected = [by_hand(adapters, mix, weights, *pair) for pair in zip(PROMPTS, TEXTS, strict=True)]
        assert row == pytest.approx(expected, abs=2e-4)
    assert pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=mixes[0]) == pytest.approx(found[0])


@pytest.mark.parametrize("part", [2, 6, 2048])
def test_distributions_are_computed_of_completions_alone(adapters, monkeypatch, part):
    mix = load(adapters)
    mixes = [{"calm": 0.7, "lively": 0.3}, {"base": 1.0}]
    expected = pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=mixes)
    rows = []

    def counted(log_probs, tokens, alternatives):
        rows.append(len(log_probs))
        return token_log_probs(log_probs, tokens, alternatives)

    monkeypatch.setattr(likelihood, "_PART", part)
    monkeypatch.setattr("pluralign.steer.prompt_scores.token_log_probs", counted)
    assert pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=mixes) == pytest.approx(expected, abs=1e-5)
    assert sum(rows) == 2 * sum(len(mix.answer_ids(text, chat=False, ended=False)) for text in TEXTS)


def test_each_completion_may_end_and_temperatures_sharpen_the_mixture(adapters):
    mix = load(adapters)
    weights = {"calm": 0.7, "lively": 0.3}
    found = pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=weights, temperature=0.5, ends=[True, False])
    for value, prompt, text, ended in zip(found, PROMPTS, TEXTS, (True, False), strict=True):
        assert value == pytest.approx(
            by_hand(adapters, mix, weights, prompt, text, ended, temperature=0.5), abs=2e-4
        )


def test_answers_of_conversations_follow_the_lead_and_may_end(adapters):
    mix = load(adapters)
    weights = {"calm": 0.5, "lively": 0.5}
    lead = mix.conversations.lead
    for ends in (False, True):
        (found,) = pl.log_likelihoods(mix, [CHAT], ["good day"], weights=weights, ends=ends)
        expected = by_hand(adapters, mix, weights, CHAT, f"{lead}good day", ended=ends)
        assert found == pytest.approx(expected, abs=2e-4)


def test_the_mean_difference_from_the_base_model_is_a_divergence(adapters):
    mix = load(adapters)
    prompts = [f"word {number}" for number in range(60)]
    weights = {"calm": 0.5, "lively": 0.5}
    texts = mix.generate(prompts, weights=weights, max_new_tokens=8)
    kept = [(p, t) for p, t in zip(prompts, texts, strict=True) if t]
    steered, base = pl.log_likelihoods(
        mix, [p for p, _ in kept], [t for _, t in kept], weights=[weights, {"base": 1.0}]
    )
    gaps = steered - base
    # Never below 0 but by chance; the policies differ from the base model.
    assert gaps.mean() > 2 * gaps.std(ddof=1) / np.sqrt(len(gaps)) > 0


def test_refusals(adapters):
    mix = load(adapters)
    with pytest.raises(pl.InputError, match="'completions': expected one per prompt, 2, found 1"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS[:1], weights={"calm": 1.0})
    with pytest.raises(pl.InputError, match="'ends': expected one per prompt, 2, found 1"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS, weights={"calm": 1.0}, ends=[True])
    with pytest.raises(pl.InputError, match="'temperature': must be above 0"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS, weights={"calm": 1.0}, temperature=0.0)
    with pytest.raises(pl.InputError, match="kind"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS, weights={"kind": 1.0})
    with pytest.raises(pl.InputError, match="'weights': expected weights by objective, found none"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS, weights=[])
    with pytest.raises(pl.InputError, match="sum to"):
        pl.log_likelihoods(mix, PROMPTS, TEXTS, weights={"calm": 0.4})
    with pytest.raises(pl.InputError, match=r"'prompts\[1\]': has no tokens"):
        pl.log_likelihoods(mix, ["a", ""], TEXTS, weights={"calm": 1.0})
    with pytest.raises(pl.InputError, match=r"'completions\[0\]': \d+ tokens exceed the context"):
        pl.log_likelihoods(mix, ["a"], [" b" * 5000], weights={"calm": 1.0})
