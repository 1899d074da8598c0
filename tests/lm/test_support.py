"""What the trial of a model tolerates, and by which name it finds the model's cache."""

import inspect
from types import SimpleNamespace

import pytest
import torch

from pluralign.core import InputError
from pluralign.lm.plain import Continuation
from pluralign.lm.support import support_of
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trial import Trial

NAMES = ("cache", "past_key_values", "cache_params")


def amplifying_model():
    """A model that makes more of rounding errors: attention that is nearly a maximum."""
    model = make_tiny_model(1)
    with torch.no_grad():
        for layer in model.model.layers:
            for one in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                one.weight *= 6
            for one in (layer.self_attn.o_proj, layer.mlp.down_proj):
                one.weight *= 4
    return model


@pytest.mark.parametrize(
    ("make", "error", "wrong"),
    [
        (lambda: make_tiny_model(1), 1e-5, False),
        (lambda: make_tiny_model(1), 1e-4, True),
        (amplifying_model, 1e-4, False),
        (amplifying_model, 1e-2, True),
    ],
)
def test_weights_that_amplify_rounding_are_no_fault(make, error, wrong, monkeypatch, tmp_path):
    monkeypatch.setenv("PLURALIGN_CACHE", str(tmp_path))
    together = Trial.together
    monkeypatch.setattr(Trial, "together", lambda trial: [one * (1 + error) for one in together(trial)])
    found = support_of(make())
    assert (found.forest is not None) == wrong
    if wrong:
        assert "differ by" in found.forest


def test_a_model_whose_states_are_not_finite_says_nothing_of_others(monkeypatch, tmp_path):
    monkeypatch.setenv("PLURALIGN_CACHE", str(tmp_path))
    broken = make_tiny_model(1)
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"'llama'\) are not finite numbers in float32: its weights"):
        support_of(broken)
    assert support_of(make_tiny_model(1)).causal


@pytest.mark.parametrize("taken", ["cache", "past_key_values", "cache_params"])
def test_a_models_own_cache_is_used_under_the_name_that_it_takes(taken, monkeypatch, tmp_path):
    monkeypatch.setenv("PLURALIGN_CACHE", str(tmp_path))
    model = make_tiny_model(1)
    trunk = model.model
    own = "past_key_values" if "past_key_values" in inspect.signature(trunk.forward).parameters else "cache"
    real, read = trunk.forward, []

    def run(cache, input_ids, settings):
        read.append(input_ids.shape[1])
        # Unknown names are ignored, as transformers' models do.
        settings = {name: value for name, value in settings.items() if name not in NAMES}
        output = real(input_ids=input_ids, **({} if cache is None else {own: cache}), **settings)
        every = dict.fromkeys(NAMES, getattr(output, own))
        return SimpleNamespace(last_hidden_state=output.last_hidden_state, **every)

    trunk.forward = {
        "cache": lambda input_ids=None, cache=None, **settings: run(cache, input_ids, settings),
        "past_key_values": lambda input_ids=None, past_key_values=None, **settings: run(
            past_key_values, input_ids, settings
        ),
        "cache_params": lambda input_ids=None, cache_params=None, **settings: run(
            cache_params, input_ids, settings
        ),
    }[taken]
    rows = Continuation(model, [[5, 6, 7]])
    rows.step([8])
    assert read == [3, 1]
    expected = real(input_ids=torch.tensor([[5, 6, 7, 8]])).last_hidden_state[:, -1]
    assert torch.allclose(rows.states, expected, atol=1e-5)
