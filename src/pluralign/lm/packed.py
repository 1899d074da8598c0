"""Linear layers whose weights are laid out for the CPU's matrix products once and not in each of them.

For inference alone: what is packed does not learn. A step of decoding, which has few rows, spends most of its
time on reading weights in an order that suits no product (docs/papers.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad


class PackedLinear(nn.Module):
    """What a linear layer computes, by oneDNN with the weights in its own layout.

    Args:
        linear: `can_pack` holds; its weights are copied.
        keeps: Whether the layer's own weights stay readable (PEFT reads them); else they are freed.
    """

    def __init__(self, linear: nn.Linear, *, keeps: bool = False) -> None:
        super().__init__()
        self._kept = (linear,) if keeps else ()
        weight = linear.weight.detach()
        # A layer's attributes may differ: PEFT swaps them in a saved head that is tied to the embedding.
        self.out_features, self.in_features = weight.shape
        self.packed: Tensor
        self.register_buffer("packed", _ops()._reorder_linear_weight(weight), persistent=False)
        own: Any = linear.bias
        bias = None if own is None else own.detach()
        self.bias: Tensor | None
        self.register_buffer("bias", bias, persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which cannot read what is packed."""
        return {**self.__dict__, "_buffers": {**self._buffers, "packed": self.packed.to_dense()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        module: Any = super()
        module.__setstate__(state)
        self.packed = _ops()._reorder_linear_weight(self.packed)

    @property
    def weight(self) -> Tensor:
        """The layer's own weights, where they are kept."""
        if not self._kept:
            raise AttributeError("the weights of this layer are packed")
        return self._kept[0].weight

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        """x W^T + b."""
        count = x.numel() // self.in_features
        most = _rounded_up(count)
        rows = x.reshape(count, self.in_features)
        if most > count:
            rows = pad(rows, (0, 0, 0, most - count))
        found = _ops()._linear_pointwise(rows, self.packed, self.bias, "none", [], "")
        return found[:count].view(*x.shape[:-1], self.out_features)


def can_pack(linear: nn.Linear) -> bool:
    """Whether this machine has such products for a layer: a CPU's, of float32 or bfloat16."""
    weight = linear.weight
    # These operators have a leading underscore; without them the layer stays as it is.
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(_ops(), name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(getattr(_ops(), "_is_mkldnn_bf16_supported", lambda: False)())
    return weight.dtype == torch.float32


def pack_linears(model: nn.Module, run: Callable[[], Any]) -> None:
    """Replace every plain linear layer that can be packed by a packed one, permanently.

    The layers' own weights are freed one after the other, except those that something else (a tied embedding)
    holds. Layers whose weights are read from outside (recurrent layers, some routers of experts) stay as they
    are.

    Args:
        model: Model with the layers, for inference alone.
        run: Pass through the model, which shows whose weights are read from outside.
    """
    for parent, name in unread_linears(model, run):
        if can_pack(getattr(parent, name)):
            setattr(parent, name, PackedLinear(getattr(parent, name)))


def unread_linears(model: nn.Module, run: Callable[[], Any]) -> list[tuple[nn.Module, str]]:
    """Parent and name of the plain linear layers whose weights nothing but their own product reads.

    Args:
        model: Model with the layers; subclasses of linear layers are left out.
        run: Pass through the model, which shows whose weights are read from outside.
    """
    places = _places(model)
    watched = [_Watched(getattr(parent, name)) for parent, name in places]
    for (parent, name), layer in zip(places, watched, strict=True):
        setattr(parent, name, layer)
    try:
        with torch.inference_mode():
            run()
    finally:
        for (parent, name), layer in zip(places, watched, strict=True):
            setattr(parent, name, layer.layer)
    return [place for place, layer in zip(places, watched, strict=True) if not layer.read]


class _Watched(nn.Module):
    """A linear layer that notes whether its weights are read from outside."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self._layer = (layer,)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.read = False

    @property
    def layer(self) -> nn.Linear:
        """The layer itself."""
        return self._layer[0]

    @property
    def weight(self) -> Tensor:
        """The layer's weights."""
        self.read = True
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        """The layer's bias, which a packed layer has, too."""
        return self.layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes."""
        return self.layer(x)


@contextmanager
def packed(model: nn.Module) -> Generator[None]:
    """Inside, the model's linear layers are packed; their weights are held twice, and must not change.

    Where that would take more than half of the free memory, nothing is packed.
    """
    places = [(parent, name) for parent, name in _places(model) if can_pack(getattr(parent, name))]
    layers: list[nn.Linear] = [getattr(parent, name) for parent, name in places]
    needed = sum(layer.weight.nbytes for layer in layers)
    if needed > psutil.virtual_memory().available / 2:
        yield
        return
    try:
        for (parent, name), layer in zip(places, layers, strict=True):
            setattr(parent, name, PackedLinear(layer, keeps=True))
        yield
    finally:
        for (parent, name), layer in zip(places, layers, strict=True):
            setattr(parent, name, layer)


def _places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Parent and name of plain linear layers; subclasses compute more than a product and stay."""
    return [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear
    ]


def _rounded_up(rows: int) -> int:
    """Above 16, one of eight numbers between a power of two and the next.

    oneDNN keeps a program, with memory of its own, for each number of rows that it encounters: a server,
    whose prompts have all lengths, would fill gigabytes with them.
    """
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step


def _ops() -> Any:
    return torch.ops.mkldnn
