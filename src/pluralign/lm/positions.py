"""Position factors that depend on the length of a sequence: LongRoPE and dynamic NTK scaling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import nn


@dataclass(frozen=True)
class LengthFactors:
    """How a model's position factors depend on the length of a sequence.

    Args:
        boundary: Number of tokens up to which all sequences have the same factors.
        by_length: Whether above it every length has its own (dynamic NTK); else all have the same (LongRoPE).
    """

    boundary: int
    by_length: bool

    def same(self, one: int, other: int) -> bool:
        """Whether sequences of two lengths have the same factors."""
        both = [length > self.boundary for length in (one, other)]
        return one == other or not any(both) or (all(both) and not self.by_length)


def length_factors(trunk: nn.Module) -> LengthFactors | None:
    """How a trunk's position factors depend on the length of a sequence; None where they do not."""
    found: list[LengthFactors] = []
    for module, _, kind, parameters in _rotary(trunk):
        dynamic = "dynamic" in kind
        if dynamic or kind == "longrope":
            own = getattr(module, "original_max_seq_len", None) or module.config.max_position_embeddings
            # Dynamic scaling begins where the first sequence exceeds the cached length.
            boundary = own if dynamic else parameters.get("original_max_position_embeddings") or own
            found.append(LengthFactors(int(boundary), dynamic))
    if not found:
        return None
    return LengthFactors(min(one.boundary for one in found), any(one.by_length for one in found))


def reset_factors(trunk: nn.Module) -> None:
    """Forget the lengths of earlier sequences, on which dynamic scaling depends."""
    for module, prefix, kind, _ in _rotary(trunk):
        if "dynamic" in kind:
            first = getattr(module, f"{prefix}original_inv_freq")
            known = getattr(module, f"{prefix}inv_freq")
            module.register_buffer(f"{prefix}inv_freq", first.to(known), persistent=False)
            setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)


def _rotary(trunk: nn.Module) -> Iterator[tuple[Any, str, str, dict[str, Any]]]:
    """Modules that make position factors.

    Yields:
        For each kind of layer the module, the prefix of its attributes, the kind of factor, its parameters.
    """
    for module in trunk.modules():
        kinds: Any = getattr(module, "rope_type", None)
        parameters: Any = getattr(getattr(module, "config", None), "rope_parameters", None) or {}
        if isinstance(kinds, str):
            yield module, "", kinds, parameters
        elif isinstance(kinds, dict):
            for name, kind in cast("dict[str, Any]", kinds).items():
                yield module, f"{name}_", str(kind), parameters.get(name) or {}
