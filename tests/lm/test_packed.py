"""Packed linear layers compute what plain ones do."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pluralign.lm.adapters import add_lora
from pluralign.lm.backbone import make_tiny_backbone
from pluralign.lm.packed import PackedLinear, can_pack, pack_linears, packed

pytestmark = pytest.mark.skipif(not can_pack(nn.Linear(2, 2)), reason="no packed products on this machine")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (3,), (2, 7), (1, 65)])
@torch.inference_mode()
def test_the_product_is_the_same(rows, bias):
    layer = nn.Linear(48, 96, bias=bias)
    x = torch.randn(*rows, 48)
    torch.testing.assert_close(PackedLinear(layer)(x), layer(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_bfloat16_is_rounded_alike():
    layer = nn.Linear(64, 64).bfloat16()
    if not can_pack(layer):
        pytest.skip("no bfloat16 products on this machine")
    x = torch.randn(5, 64).bfloat16()
    exact = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    ours, plain = PackedLinear(layer)(x), layer(x)
    assert ours.dtype == torch.bfloat16
    assert (ours - exact).abs().max() <= 2 * (plain - exact).abs().max()


def test_what_computes_more_than_a_product_stays():
    class Scaled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    model = nn.Sequential(nn.Linear(4, 4), Scaled(4, 4), nn.Linear(4, 4).double(), nn.Linear(4, 4))
    read = model[3]
    # Nor does a layer whose weights are read from outside.
    pack_linears(model, lambda: model[3].weight)
    assert type(model[0]) is PackedLinear
    assert type(model[1]) is Scaled
    assert type(model[2]) is nn.Linear
    assert model[3] is read


def test_a_model_is_packed_for_a_while():
    model = add_lora(make_tiny_backbone().model, 4).eval()
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        expected = model(ids).logits
        with packed(model):
            assert any(isinstance(module, PackedLinear) for module in model.modules())
            torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(module, PackedLinear) for module in model.modules())
    # What changes afterwards is seen by the next.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    with torch.inference_mode():
        changed = model(ids).logits
        with packed(model):
            torch.testing.assert_close(model(ids).logits, changed, atol=1e-5, rtol=1e-5)
    assert (changed - expected).abs().max() > 1e-3


def test_a_model_that_would_not_fit_twice_stays(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 4))
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=100))
    with packed(model):
        assert type(model[0]) is nn.Linear
