"""Several LoRA adapters on one trunk at once: a row's tokens go through the adapters that they are routed to.

The trunk's own product is one for all tokens. What the adapters add is two small batched products for each
linear layer, whatever their number; a token that is routed to none gets the trunk as it is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from pluralign.core import InputError
from pluralign.lm.adapter_base import require_base
from pluralign.lm.adapter_check import DOWN, UP, Adapter, check_adapter
from pluralign.lm.adapters import PROBE_TOKENS, probe_logits
from pluralign.lm.backbone import Backbone, make_backbone
from pluralign.lm.model_parts import reads_text
from pluralign.lm.packed import pack_linears
from pluralign.lm.passes import trunk_of
from pluralign.lm.support import support_of

# Above this number of tokens of one adapter, slices of the row are cheaper than gathering equal parts.
_SLICED = 64


@dataclass(frozen=True, eq=False)
class Route:
    """Which tokens of a row go through which adapter.

    Args:
        adapters: Numbers of the adapters, each once, in ascending order.
        counts: Consecutive tokens of each, in the row's order; tokens after them go through none. Without
            counts all tokens go through the only adapter, in whatever shape.
        tokens: Number of tokens in the row; a layer that gets another number does not know their adapters.
        device: Device of the row.
    """

    adapters: tuple[int, ...]
    counts: tuple[int, ...]
    tokens: int = 0
    device: torch.device | str = "cpu"
    gathered: Int[Tensor, "adapters longest"] | None = field(init=False)
    """Place in the row of every adapter's tokens, padded with any; None where all have equally many."""
    scattered: Int[Tensor, " tokens"] | None = field(init=False)
    """Place of the row's tokens among the gathered."""
    total: int = field(init=False)
    """Number of tokens that go through adapters."""
    sliced: bool = field(init=False)
    """Whether the adapters take their tokens one adapter after the other."""

    def __post_init__(self) -> None:
        # Every layer asks for these.
        object.__setattr__(self, "total", sum(self.counts))
        # Adapters with gaps between their numbers would have to be copied to be multiplied as one.
        apart = any(b - a != 1 for a, b in pairwise(self.adapters))
        object.__setattr__(self, "sliced", apart or max(self.counts, default=0) > _SLICED)
        gathered = scattered = None
        if len(set(self.counts)) > 1 and not self.sliced:
            longest, start = max(self.counts), 0
            places: list[list[int]] = []
            back: list[int] = []
            for number, count in enumerate(self.counts):
                places.append([start + min(i, count - 1) for i in range(longest)])
                back += [number * longest + i for i in range(count)]
                start += count
            gathered, scattered = (torch.tensor(one, device=self.device) for one in (places, back))
        object.__setattr__(self, "gathered", gathered)
        object.__setattr__(self, "scattered", scattered)

    @classmethod
    def of_all(cls, adapter: int) -> Route:
        """All tokens through one adapter."""
        return cls((adapter,), ())


class AdapterStack:
    """One trunk with the adapters of several policies.

    Args:
        backbone: Model loaded for this use alone: its linear layers are wrapped and packed (`lm.packed`).
        adapters: Folder of each PEFT adapter, by the policy's name.

    Raises:
        InputError: An adapter cannot be read, belongs to another model, or cannot share this one
            (`why_not_stacked`).
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Path]) -> None:
        self.names = tuple(adapters)
        self._route: Route | None = None
        model: Any = backbone.model
        checked = [check_adapter(folder) for folder in adapters.values()]
        for adapter, reason in zip(checked, why_not_stacked(model, adapters.values()), strict=True):
            if reason:
                raise InputError(f"cannot share the model with other adapters: {reason}", path=adapter.folder)
        found = [dict(_matrices(adapter, model)) for adapter in checked]
        for name in sorted({name for one in found for name in one}):
            parent, _, child = name.rpartition(".")
            base = model.get_submodule(name)
            layer = _StackedLinear(self, base, [one.get(name) for one in found])
            setattr(model.get_submodule(parent), child, layer)
        model.requires_grad_(False)
        trunk = set(trunk_of(model).modules())
        self.adapts_head = any(
            isinstance(module, _StackedLinear) and module not in trunk for module in model.modules()
        )
        """Whether some adapter changes the vocabulary head, or another layer above the trunk, too."""
        pack_linears(model, partial(_use, model))
        self.backbone = make_backbone(model, backbone.tokenizer, backbone.name)

    @contextmanager
    def routed(self, route: Route | None) -> Generator[None]:
        """Inside, rows go through the adapters as the route says; None is the trunk alone."""
        self._route = route
        try:
            yield
        finally:
            self._route = None

    @property
    def route(self) -> Route | None:
        """Route of the row that is being computed."""
        return self._route


def _use(model: Any) -> None:
    """Run a whole pass of two tokens, and a step of one token with the cache."""
    if model.config.is_encoder_decoder:
        return
    model(input_ids=torch.tensor([[3, 4]], device=model.device), use_cache=False)
    support_of(model).continuation(model, [[3, 4]]).step([5])


class _StackedLinear(nn.Module):
    """A linear layer and what each adapter adds to it: x A_i B_i."""

    def __init__(
        self, stack: AdapterStack, base: nn.Module, matrices: Sequence[tuple[Tensor, Tensor] | None]
    ) -> None:
        super().__init__()
        self.base = base
        self._stack = (stack,)
        known = [pair for pair in matrices if pair is not None]
        rank = max(down.shape[1] for down, _ in known)
        shapes = known[0][0].shape[0], known[0][1].shape[1]
        down = known[0][0].new_zeros(len(matrices), shapes[0], rank)
        up = known[0][0].new_zeros(len(matrices), rank, shapes[1])
        for i, pair in enumerate(matrices):
            if pair is not None:
                down[i, :, : pair[0].shape[1]], up[i, : pair[1].shape[0]] = pair
        self.down: Tensor
        self.up: Tensor
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The layer's own weights, whose precision some routers ask for."""
        return self.base.weight  # pyright: ignore[reportReturnType]

    def forward(self, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
        result = self.base(x)
        route = self._stack[0].route
        if route is None or not route.adapters:
            return result
        if not route.counts:
            (only,) = route.adapters
            return result + (x @ self.down[only]) @ self.up[only]
        # Some models (OPT) hand their layers the tokens without a dimension for the row.
        tokens, changed = x.reshape(-1, x.shape[-1]), result.view(-1, result.shape[-1])
        if len(tokens) != route.tokens:
            raise RuntimeError(
                f"{len(tokens)} of {route.tokens} tokens reached a layer: which adapters they need is unknown"
            )
        if route.sliced:
            start = 0
            for i, count in zip(route.adapters, route.counts, strict=True):
                part = tokens[start : start + count]
                changed[start : start + count].addmm_(part @ self.down[i], self.up[i])
                start += count
            return result
        down, up, total, number = self.down, self.up, route.total, len(route.adapters)
        if number < len(down):
            chosen = slice(route.adapters[0], route.adapters[-1] + 1)
            down, up = down[chosen], up[chosen]
        # A step of decoding on a GPU takes as long as its calls, so there are as few of them as possible.
        if total < route.tokens:
            tokens, changed = tokens[:total], changed[:total]
        if route.gathered is None or route.scattered is None:
            inner = torch.bmm(tokens.view(number, -1, tokens.shape[1]), down)
            changed.view(number, -1, changed.shape[1]).baddbmm_(inner, up)
        else:
            added = torch.bmm(torch.bmm(tokens[route.gathered], down), up)
            changed += added.flatten(0, 1)[route.scattered]
        return result


def why_not_stacked(model: Any, folders: Iterable[Path]) -> list[str]:
    """Why each adapter cannot share a model with others; empty for those that can.

    Args:
        model: The model, without adapters.
        folders: Folder of each adapter.

    Raises:
        InputError: An adapter cannot be read, or was made for another model.
    """
    checked = [check_adapter(Path(folder)) for folder in folders]
    reasons: list[str] = []
    passed = reads_text(model)
    whole: set[str] | None = None
    for adapter in checked:
        require_base(adapter, model)
        reason = adapter.why_not_on(model)
        if not reason:
            whole = _layers_of_all_tokens(model) if whole is None else whole
            own = [layer for layer in adapter.layers if passed(layer)]
            partial = next((layer for layer in own if layer not in whole), None)
            if partial is not None:
                reason = f"it changes {partial}, which not all tokens pass"
        reasons.append(reason)
    return reasons


def _layers_of_all_tokens(model: Any) -> set[str]:
    """Names of the layers that get all tokens of a text in each call: only there does a token's place say
    which adapter it needs. An expert gets some of the tokens."""
    seen: dict[str, bool] = {}

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...], __: Any) -> None:
            tokens = inputs[0].numel() // inputs[0].shape[-1] if inputs else 0
            seen[name] = seen.get(name, True) and tokens == PROBE_TOKENS

        return hook

    named = [
        (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)
    ]
    hooks = [module.register_forward_hook(note(name)) for name, module in named]
    try:
        probe_logits(model)
    finally:
        for hook in hooks:
            hook.remove()
    return {name for name, all_of_them in seen.items() if all_of_them and "experts" not in name.split(".")}


def _matrices(adapter: Adapter, model: Any) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Name of each linear layer that texts pass, with (A, B) such that the adapter adds x A B."""
    tensors, passed = adapter.tensors(), reads_text(model)
    for name in filter(passed, adapter.layers):
        layer = model.get_submodule(name)
        # Weights in 4 bits are multiplied in another type than that in which they are stored.
        like = layer.weight if layer.weight.is_floating_point() else model.get_input_embeddings().weight
        down = tensors[name + DOWN].float().T.contiguous()
        up = (tensors[name + UP].float().T * adapter.scaling(name)).contiguous()
        yield name, (down.to(like), up.to(like))
