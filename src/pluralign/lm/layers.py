"""Layers of a decoder-only trunk: their hidden states, and the trunk cut in two between them.

Layers are read and skipped by hooks on the model's own modules, and a pass over the upper layers is a pass of
the whole trunk, so that embeddings, positions, masks, layer types and final norms are the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.lm.forest import Forest, Tree, plant
from pluralign.lm.model_parts import text_config
from pluralign.lm.passes import trunk_of
from pluralign.lm.plain import plain_states
from pluralign.lm.support import support_of
from pluralign.lm.trunk import forest_hidden_states, shares_forest

# Prompt and branches of the forest that a cut is tried on.
_TRIED = (12, (5, 7))


def trunk_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The layers of a trunk, whatever the architecture calls them.

    Raises:
        InputError: The trunk has no list of as many modules as its configuration has layers.
    """
    count = int(text_config(model).num_hidden_layers)
    found = [
        module
        for module in trunk_of(model).modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise InputError(f"models of type {model.config.model_type!r} have no list of {count} layers")
    return max(found, key=lambda layers: sum(p.numel() for p in layers.parameters()))


def forest_layers(
    model: PreTrainedModel, forest: Forest, layers: Sequence[int]
) -> list[Float[Tensor, "tokens _"]]:
    """Hidden states of every token after each of these layers, in one pass.

    Layers above the last one that is asked for are not run.

    Args:
        model: Decoder-only model; see `forest_hidden_states`.
        forest: Forest on the model's device.
        layers: 0 is the embedding; the last layer (or -1) is given after the final norm.

    Raises:
        InputError: The model is an encoder-decoder, or its layers cannot be found.
    """
    if model.config.is_encoder_decoder:
        raise InputError("layers of encoder-decoder models cannot be read one by one")
    if not shares_forest(model, forest):
        support = support_of(model)
        return plain_states(model, forest, layers, padding=support.padding, factors=support.factors)
    modules = trunk_layers(model)
    numbers = [layer % (len(modules) + 1) for layer in layers]
    missing = {number for number in numbers if number < len(modules)}
    whole = len(modules) in numbers
    found: dict[int, Tensor] = {}

    def reader(number: int) -> Callable[..., None]:
        def read(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            found[number] = _row(model, _layer_input(args, kwargs))
            if not whole and found.keys() == missing:
                raise _AllRead

        return read

    with ExitStack() as hooks:
        for number in missing:
            handle = modules[number].register_forward_pre_hook(reader(number), with_kwargs=True)
            hooks.callback(handle.remove)
        with suppress(_AllRead):
            found[len(modules)] = forest_hidden_states(model, forest)
    return [found[number] for number in numbers]


class CutTrunk:
    """A trunk cut below its uppermost layers, so that what lies below is computed once where it does not
    learn.

    The cut is tried on a small forest: what the upper part makes of the lower part's states is compared with
    a pass of the whole trunk.

    Args:
        model: Decoder-only model; see `forest_hidden_states`.
        layers: Number of layers of the upper part, which also has all that follows them. 0 leaves nothing in
            the upper part, not even the final norm.

    Raises:
        InputError: More layers than there are; or the trunk cannot be cut, because its upper layers read
            more than the states of the layer below (keys, per-layer inputs), or their states are no rows.
    """

    def __init__(self, model: PreTrainedModel, layers: int) -> None:
        if model.config.is_encoder_decoder:
            raise InputError("encoder-decoder models learn whole or through an adapter", field="layers")
        modules = trunk_layers(model)
        if not 0 <= layers <= len(modules):
            raise InputError(f"must be from 0 to the trunk's {len(modules)}, found {layers}", field="layers")
        self.model, self.layers = model, layers
        self._below, self._upper = modules[: len(modules) - layers], modules[len(modules) - layers :]
        self._last: nn.ModuleList = nn.ModuleList()
        # Number of parts of what each layer returns; None for a tensor.
        self._returned: dict[nn.Module, int | None] = {}
        if layers:
            try:
                self._try()
            except InputError:
                raise
            except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
                raise self._refusal(f"{type(error).__name__}: {error}") from error

    @property
    def upper(self) -> nn.ModuleList:
        """The upper layers, and the modules that only what follows the layers runs (final norms)."""
        return nn.ModuleList([*self._upper, *self._last])

    def lower_states(self, forest: Forest) -> Float[Tensor, "tokens inner"]:
        """What the lower part makes of a forest: its states below the first upper layer; where there is no
        upper layer, the states after the final norm.

        Raises:
            InputError: The forest's paths are separate sequences, which cannot be cut.
        """
        if self.layers and not shares_forest(self.model, forest):
            raise self._refusal("its paths are separate sequences")
        (states,) = forest_layers(self.model, forest, [-1 - self.layers])
        return states

    def hidden_states(
        self, forest: Forest, lower: Float[Tensor, "tokens inner"]
    ) -> Float[Tensor, "tokens d"]:
        """What the whole trunk makes of a forest (`forest_hidden_states`).

        Args:
            forest: Forest on the model's device.
            lower: `lower_states` of the same forest.
        """
        if not self.layers:
            return lower

        def inject(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (lower[None], *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": lower[None]}

        with ExitStack() as changes:
            for module in self._below:
                changes.enter_context(_skipped(module, self._returned[module]))
            handle = self._upper[0].register_forward_pre_hook(inject, with_kwargs=True)
            changes.callback(handle.remove)
            return forest_hidden_states(self.model, forest)

    @torch.no_grad()
    def _try(self) -> None:
        prompt, branches = _TRIED
        vocabulary = int(text_config(self.model).vocab_size)
        ids = [(7 * i + 3) % vocabulary for i in range(prompt + sum(branches))]
        ends = [prompt + branches[0], prompt + sum(branches)]
        (forest,) = plant([Tree(ids[:prompt], [ids[prompt : ends[0]], ids[ends[0] : ends[1]]])])
        forest = forest.to(self.model.device)
        whole = self._watched(forest)
        found = self.hidden_states(forest, self.lower_states(forest))
        gap = float((found - whole).abs().max()) if found.shape == whole.shape else float("inf")
        # A few roundings of the largest state; a scaled embedding or another layer's mask makes far more.
        if not gap <= 16 * torch.finfo(whole.dtype).eps * max(1.0, float(whole.abs().max())):
            raise self._refusal(f"its states would differ by {gap:.2g}")

    def _watched(self, forest: Forest) -> Tensor:
        """A pass of the whole trunk that records what layers return and which modules run after them."""
        before: set[nn.Module] = set()
        after: dict[nn.Module, None] = {}
        layers, top = {*self._below, *self._upper}, self._upper[-1]

        def note(module: nn.Module, args: Any, output: Any) -> None:
            if module in layers:
                self._returned[module] = (
                    len(cast("tuple[Any, ...]", output)) if isinstance(output, tuple) else None
                )
            if top in self._returned:
                after[module] = None
            else:
                before.add(module)

        with ExitStack() as hooks:
            for module in trunk_of(self.model).modules():
                hooks.callback(module.register_forward_hook(note).remove)
            whole = forest_hidden_states(self.model, forest)
        # A module that holds the layers (the trunk itself) ends after them, too.
        last = [m for m in after if m not in before and layers.isdisjoint(m.modules())]
        self._last = nn.ModuleList(last)
        return whole

    def _refusal(self, reason: str) -> InputError:
        return InputError(
            f"models of type {self.model.config.model_type!r} cannot be cut between layers ({reason}); "
            "learn all layers, or an adapter",
            field="layers",
        )


class _AllRead(Exception):
    """Ends a pass whose further layers are not needed."""


def _layer_input(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _row(model: PreTrainedModel, states: Any) -> Float[Tensor, "tokens d"]:
    if not isinstance(states, Tensor) or states.dim() != 3 or len(states) != 1:
        raise InputError(
            f"layers of models of type {model.config.model_type!r} read more than one state of each token",
            field="layers",
        )
    return states[0]


@contextmanager
def _skipped(layer: nn.Module, returned: int | None) -> Generator[None]:
    """A layer that returns its input, in the form of its output."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        states = _layer_input(args, kwargs)
        return states if returned is None else (states, *[None] * (returned - 1))

    own = layer.__dict__.get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward
        if own is not None:
            layer.forward = own
