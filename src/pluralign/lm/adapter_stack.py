"""Several LoRA adapters on one trunk at once: a row's tokens go through the adapters that they are routed to.

The trunk's own product is one for all tokens. What the adapters add is two small batched products for each
linear layer, whatever their number; a token that is routed to none gets the trunk as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pluralign.core import InputError
from pluralign.lm.adapters import read_adapter
from pluralign.lm.backbone import Backbone, make_backbone
from pluralign.lm.packed import pack_linears

# Above so many tokens of one adapter, slices of the row are cheaper than gathering it into equal parts.
_SLICED = 64


@dataclass(frozen=True, eq=False)
class Route:
    """Which tokens of a row go through which adapter.

    Args:
        adapters: numbers of the adapters, each once, rising.
        counts: consecutive tokens of each, in the row's order; tokens after them go through none. Without
            counts all tokens go through the only adapter, in whatever shape.
    """

    adapters: tuple[int, ...]
    counts: tuple[int, ...]
    gathered: Int[Tensor, "adapters longest"] | None = field(init=False)
    """Place in the row of every adapter's tokens, padded with any; None where all have equally many."""
    scattered: Int[Tensor, " tokens"] | None = field(init=False)
    """Place of the row's tokens among the gathered."""

    def __post_init__(self) -> None:
        gathered = scattered = None
        if len(set(self.counts)) > 1 and not self.sliced:
            longest, start, places, back = max(self.counts), 0, [], []
            for number, count in enumerate(self.counts):
                places.append([start + min(i, count - 1) for i in range(longest)])
                back += [number * longest + i for i in range(count)]
                start += count
            gathered, scattered = torch.tensor(places), torch.tensor(back)
        object.__setattr__(self, "gathered", gathered)
        object.__setattr__(self, "scattered", scattered)

    @classmethod
    def of_all(cls, adapter: int) -> Route:
        """All tokens through one adapter."""
        return cls((adapter,), ())

    @property
    def sliced(self) -> bool:
        """Whether the adapters take their tokens one adapter after the other."""
        # Adapters that do not stand side by side would have to be copied to be multiplied as one.
        apart = any(b - a != 1 for a, b in pairwise(self.adapters))
        return apart or max(self.counts, default=0) > _SLICED


class AdapterStack:
    """One trunk with the adapters of several policies.

    Args:
        backbone: loaded for this use alone: its linear layers are wrapped, and packed (`models.packed`).
        adapters: folder of each PEFT adapter, by the policy's name.

    Raises:
        InputError: an adapter cannot be read, or is more than a plain LoRA.
    """

    def __init__(self, backbone: Backbone, adapters: Mapping[str, Path]) -> None:
        self.names = tuple(adapters)
        self._route: Route | None = None
        model: Any = backbone.model
        found: list[dict[str, tuple[Tensor, Tensor]]] = []
        for folder in adapters.values():
            adapted = read_adapter(model, Path(folder))
            found.append(dict(_matrices(adapted, Path(folder))))
            model = adapted.unload()
        for name in sorted({name for one in found for name in one}):
            parent, _, child = name.rpartition(".")
            base = model.get_submodule(name)
            layer = _StackedLinear(self, base, [one.get(name) for one in found])
            setattr(model.get_submodule(parent), child, layer)
        model.requires_grad_(False)
        self.adapts_head = isinstance(model.get_output_embeddings(), _StackedLinear)
        """Whether some adapter changes the vocabulary head, too."""
        pack_linears(model)
        self.backbone = make_backbone(model, backbone.tokenizer, backbone.name)

    @contextmanager
    def routed(self, route: Route | None) -> Iterator[None]:
        """Inside, rows go through the adapters as the route says; None is the trunk alone."""
        self._route = route
        try:
            yield
        finally:
            self._route = None

    @property
    def route(self) -> Route | None:
        """Of the row that is under way."""
        return self._route


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

    def forward(self, x: Float[Tensor, "1 tokens d_in"]) -> Float[Tensor, "1 tokens d_out"]:
        result = self.base(x)
        route = self._stack[0].route
        if route is None or not route.adapters:
            return result
        if not route.counts:
            (only,) = route.adapters
            return result + (x @ self.down[only]) @ self.up[only]
        total, tokens = sum(route.counts), x[0]
        if route.sliced:
            start = 0
            for i, count in zip(route.adapters, route.counts, strict=True):
                part = tokens[start : start + count]
                result[0, start : start + count] += (part @ self.down[i]) @ self.up[i]
                start += count
            return result
        chosen = slice(route.adapters[0], route.adapters[-1] + 1)
        down, up = self.down[chosen], self.up[chosen]
        if route.gathered is None or route.scattered is None:
            added = torch.bmm(
                torch.bmm(tokens[:total].view(len(route.adapters), -1, tokens.shape[1]), down), up
            )
            added = added.view(total, -1)
        else:
            added = torch.bmm(torch.bmm(tokens[route.gathered], down), up).flatten(0, 1)[route.scattered]
        result[0, :total] += added
        return result


def _matrices(adapted: Any, folder: Path) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Name of each linear layer in the plain model, with (A, B) such that the adapter adds x A B."""
    config = next(iter(adapted.peft_config.values()))
    beyond = [
        name
        for name in (
            "use_dora",
            "modules_to_save",
            "trainable_token_indices",
            "target_parameters",
            "lora_bias",
        )
        if getattr(config, name, None)
    ]
    if beyond or str(getattr(config.peft_type, "value", config.peft_type)) != "LORA":
        raise InputError(
            f"only plain LoRA adapters can be stacked; this has {beyond or config.peft_type}", path=folder
        )
    inner = adapted.get_base_model()
    for name, module in inner.named_modules():
        if not hasattr(module, "lora_A") or not module.lora_A:
            if getattr(module, "lora_embedding_A", None):
                raise InputError(
                    f"adapts an embedding ({name}); only linear layers can be stacked", path=folder
                )
            continue
        (key,) = module.lora_A
        down = module.lora_A[key].weight.detach().T.contiguous()
        up = (module.lora_B[key].weight.detach().T * module.scaling[key]).contiguous()
        dtype = next(inner.parameters()).dtype
        yield name, (down.to(dtype), up.to(dtype))
