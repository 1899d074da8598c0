"""What the trial of a model tolerates."""

import pytest
import torch

from pluralign.core import InputError
from pluralign.lm.support import support_of
from pluralign.lm.tiny import make_tiny_model
from pluralign.lm.trial import Trial


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
