"""Log-probabilities by the vocabulary head, and what their backward pass computes."""

from functools import partial

import pytest
import torch
from architectures import FEW, linear_names, make

from pluralign.lm import vocabulary
from pluralign.lm.adapters import add_lora
from pluralign.lm.model_parts import output_embeddings, text_config
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.vocabulary import by_chunks, head_learns, log_probs_of

# Soft caps, scales of logits, biases, and heads with layers of their own.
HEADS = (*FEW, "cohere", "granite", "phi", "gptj", "modernbert-decoder")


def states_of(model, rows=20):
    generator = torch.Generator().manual_seed(0)
    width = output_embeddings(model).weight.shape[1]
    targets = torch.randint(text_config(model).vocab_size, (rows,), generator=generator)
    return 3 * torch.randn(rows, width, generator=generator), targets


def slopes(model, learns, *, temperature=1.0, bf16=False, weights=None):
    states, targets = states_of(model)
    states.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = by_chunks(
            partial(log_probs_of, model, temperature=temperature), states, targets, learns=learns
        )
    (found * (torch.arange(len(found)) - 7.0 if weights is None else weights)).sum().backward()
    return found.detach(), states.grad


@pytest.fixture
def chunks(monkeypatch):
    monkeypatch.setattr(vocabulary, "_CHUNK", 8)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_derivatives_through_a_frozen_head_are_those_through_one_that_learns(kind, temperature, chunks):
    model = make(kind).requires_grad_(False)
    assert not head_learns(model)
    kept, again = (slopes(model, learns, temperature=temperature) for learns in (False, True))
    torch.testing.assert_close(kept[0], again[0], rtol=0, atol=0)
    torch.testing.assert_close(kept[1], again[1], rtol=1e-5, atol=1e-5)
    assert again[1].abs().max() > 0.01


def test_mixed_precision_is_as_exact(chunks):
    model = make_tiny_model(1).requires_grad_(False)
    exact = slopes(model, True)[1]
    errors = [(slopes(model, learns, bf16=True)[1] - exact).norm() / exact.norm() for learns in (False, True)]
    assert errors[0] < 1.2 * errors[1] < 0.02


def test_nothing_is_computed_again_through_a_frozen_head(chunks):
    model = make_tiny_model(1).requires_grad_(False)
    calls = []
    output_embeddings(model).register_forward_hook(lambda *_: calls.append(1))
    slopes(model, False)
    assert len(calls) == 3
    slopes(model, True)
    assert len(calls) == 3 + 6
    with torch.no_grad():
        by_chunks(partial(log_probs_of, model), *states_of(model), learns=False)
    assert len(calls) == 3 + 6 + 3


def test_second_derivatives_are_refused():
    model = make_tiny_model(1).requires_grad_(False)
    states, targets = states_of(model)
    found = by_chunks(partial(log_probs_of, model), states.requires_grad_(), targets, learns=False)
    (slopes,) = torch.autograd.grad(found.square().sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slopes.square().sum().backward()


def test_weights_that_learn_get_their_gradients(chunks):
    model = make_tiny_model(1)
    assert head_learns(model)
    slopes(model, head_learns(model))
    assert output_embeddings(model).weight.grad.abs().max() > 0
    frozen, states = make_tiny_model(1).requires_grad_(False), states_of(model)
    # States without gradients: nothing to differentiate.
    found = by_chunks(partial(log_probs_of, frozen), *states, learns=False)
    assert not found.requires_grad


def test_what_learns_is_found():
    model = make("llama")
    names = linear_names(model)
    assert not head_learns(add_lora(model, 2, targets=names))
    assert head_learns(add_lora(make("llama"), 2, targets=[*names, "lm_head"]))
    own = make("modernbert-decoder").requires_grad_(False)
    own.lm_head.dense.weight.requires_grad_(True)
    assert head_learns(own)
