"""What a model can do here, found out by trying it: forests, decoding in rows, or the plain way alone.

`support_of` computes a small forest and its paths as separate sequences, once for each kind of model, and
compares them in the precision of the weights. Meanwhile windows and chunks are short, so that the paths are
longer than any of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from pluralign.core import InputError
from pluralign.core.digests import digest
from pluralign.core.files import cache_folder, replace_when_whole
from pluralign.lm.attention import use_forest_attention
from pluralign.lm.model_parts import text_config
from pluralign.lm.passes import trunk_of
from pluralign.lm.plain import Continuation
from pluralign.lm.positions import LengthFactors, length_factors
from pluralign.lm.trial import Trial

_log = logging.getLogger(__name__)
# Goes into the cached verdicts: raise it when the trial or what it tries changes.
_VERSION = 8
_KNOWN = "_pluralign_support"
# Error that is tolerated, over that which a rounding error of the embeddings makes; and the largest one.
_AMPLIFIED, _LARGEST = 8, 1e-3
# Tokens of windows, chunks and the like in a trial, and what configurations and layers call them.
_SHORT = 8
_WINDOWS = (
    "sliding_window", "attention_chunk_size", "floor_scale", "local_attention", "window_size", "index_topk",
    "attention_window_size",
)  # fmt: skip


@dataclass(frozen=True)
class Support:
    """What a model can do here.

    Args:
        forest: Why its layers cannot read forests; None where they can.
        decoding: Why its rows cannot be decoded by our own keys and values; None where they can.
        causal: Whether a token's state depends on earlier tokens alone.
        head: Whether its logits are those of `head.head_logits`; else its own code computes them.
        padding: Whether its sequences may be padded at their ends.
        caching: Whether its own cache continues a sequence as a whole pass would.
        factors: How its position factors depend on the length of a sequence; None where they do not.
    """

    forest: str | None = None
    decoding: str | None = None
    causal: bool = True
    head: bool = True
    padding: bool = True
    caching: bool = True
    factors: LengthFactors | None = None

    def shares(self, longest: int) -> bool:
        """Whether a forest with paths of up to this number of tokens is computed as one."""
        return self.forest is None and self._within(longest)

    def decodes(self, longest: int) -> bool:
        """Whether rows of up to this number of tokens are decoded together."""
        return self.decoding is None and self._within(longest)

    def continuation(self, model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> Continuation:
        """Sequences of equal length, ready to be continued the plain way."""
        return Continuation(model, rows, caching=self.caching, factors=self.factors)

    def _within(self, longest: int) -> bool:
        return self.factors is None or longest <= self.factors.boundary


def assume_forests(model: PreTrainedModel) -> None:
    """Assume that a model reads forests, without a trial: its weights may have no data."""
    trunk_of(model).__dict__[_KNOWN] = Support()


def support_of(model: PreTrainedModel) -> Support:
    """What a model can do; tried once for each configuration and precision, then remembered.

    Raises:
        InputError: The model is not causal, or its states are not finite.
    """
    trunk = trunk_of(model)
    known = trunk.__dict__.get(_KNOWN)
    if known is None:
        known = trunk.__dict__[_KNOWN] = _remembered(model, trunk)
        if known.causal and known.decoding is not None:
            _log.warning(
                "models of type %r are %s a sequence at a time, which is slower: %s",
                model.config.model_type, "decoded" if known.forest is None else "read", known.decoding,
            )  # fmt: skip
    if not known.causal:
        raise InputError(f"models of type {model.config.model_type!r} are not causal: tokens see later ones")
    return known


def _remembered(model: PreTrainedModel, trunk: Any) -> Support:
    """The verdict from the cache on disk, or that of a trial."""
    config = text_config(model).to_dict()
    for volatile in ("transformers_version", "_name_or_path", "dtype", "use_cache", "architectures"):
        config.pop(volatile, None)
    first = next(trunk.parameters())
    described = [
        _VERSION, transformers.__version__, torch.__version__, type(trunk).__qualname__,
        str(first.dtype), first.device.type, config,
    ]  # fmt: skip
    key = digest([json.dumps(described, sort_keys=True, default=str).encode()])
    file = cache_folder() / "support" / f"{key}.json"
    try:
        content = json.loads(file.read_text())
        factors = content.pop("factors")
        return Support(**content, factors=LengthFactors(**factors) if factors else None)
    except (OSError, ValueError, TypeError, KeyError):
        found = _tried(model, trunk)
    try:
        with replace_when_whole(file) as temporary:
            temporary.write_text(json.dumps(asdict(found)))
    except InputError:
        # Without a cache the model is tried again by the next process.
        pass
    return found


@torch.no_grad()
def _tried(model: PreTrainedModel, trunk: Any) -> Support:
    network: Any = model
    training, implementation = network.training, network.config._attn_implementation
    dtype = next(trunk.parameters()).dtype
    exact = torch.finfo(dtype).eps < 1e-6
    # Experts are chosen by close calls, which the roundings of a lower precision tip at random, while a fault
    # is at the same place in every draw: the best of three draws counts.
    trials = [Trial(model, seed) for seed in range(1 if exact else 3)]
    tolerance = 3e-5 if exact else 8 * torch.finfo(dtype).eps
    network.eval()
    try:
        with _short_windows(model, trunk):
            separate = [trial.separate() for trial in trials]
            if not all(bool(states.isfinite().all()) for own in separate for states in own):
                # Nothing is known of models of this kind, and nothing is to be remembered of them.
                raise InputError(
                    f"the states of this model (of type {model.config.model_type!r}) are not finite numbers "
                    f"in {str(dtype).removeprefix('torch.')}: its weights are damaged, or overflow"
                )
            if exact:
                # Some weights make more of rounding errors than others, by which no layout is at fault.
                with suppress(NotImplementedError):  # embeddings that cannot be had
                    amplified = _worst(Trial.rounded, trials, separate)
                    tolerance = max(tolerance, min(_AMPLIFIED * amplified, _LARGEST))
            begun = [[states[:-1] for states in own] for own in separate]
            causal = _fault(Trial.begun, trials, begun, tolerance)
            head = _fault(Trial.logits, trials, [trial.own_logits() for trial in trials], tolerance)
            padding = _fault(Trial.padded, trials, separate, tolerance)
            caching = _fault(Trial.cached, trials, separate, tolerance)
            forest, decoding = _forest_faults(model, trials, separate, tolerance)
    finally:
        network.train(training)
    if forest is not None and network.config._attn_implementation != implementation:
        network.set_attn_implementation(implementation)
    return Support(
        forest=forest, decoding=decoding, causal=causal is None, head=head is None, padding=padding is None,
        caching=caching is None, factors=length_factors(trunk),
    )  # fmt: skip


def _forest_faults(
    model: PreTrainedModel, trials: Sequence[Trial], separate: Sequence[list[Tensor]], tolerance: float
) -> tuple[str | None, str | None]:
    """What is wrong with the model's forests, and with decoding by our own keys and values."""
    try:
        use_forest_attention(model)
    except InputError as error:
        return str(error), str(error)
    fault = _fault(Trial.together, trials, separate, tolerance)
    if fault is None:
        # Forests of one shape are rounded alike: a leak shows in any precision.
        shown = [trial.together()[1:] for trial in trials]
        if _fault(Trial.neighbours, trials, shown, tolerance / 2) is not None:
            fault = "a path's states depend on its neighbours"
    if fault is not None:
        return fault, fault
    return None, _fault(
        Trial.decoded,
        trials,
        [trial.steps(own) for trial, own in zip(trials, separate, strict=True)],
        tolerance,
    )


def _fault(
    attempt: Callable[[Trial], list[Tensor]], trials: Sequence[Trial], expected: Sequence[list[Tensor]],
    tolerance: float,
) -> str | None:  # fmt: skip
    """What is wrong with a way of computing states; None for nothing.

    Args:
        attempt: Computes a trial's states, each of shape (tokens, d).
        trials: Draws of random tokens.
        expected: The states of each trial.
        tolerance: Length of the difference from the right state, relative to it.
    """
    try:
        worst = _worst(attempt, trials, expected)
    except Exception as error:  # whatever a model of an unknown kind raises
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    # What is not a number is a fault, too.
    return (
        None if worst <= tolerance else f"its states differ by {worst:.1e} from those of separate sequences"
    )


def _worst(
    attempt: Callable[[Trial], list[Tensor]], trials: Sequence[Trial], expected: Sequence[list[Tensor]]
) -> float:
    """Largest error over the tokens, each in its best draw; arguments as in `_fault`."""
    errors: list[Tensor] = []
    for trial, right in zip(trials, expected, strict=True):
        found: Any = torch.cat(attempt(trial)).float()
        states: Any = torch.cat(right).float()
        errors.append((found - states).norm(dim=-1) / states.norm(dim=-1))
    return float(torch.stack(errors).amin(dim=0).amax())


@contextmanager
def _short_windows(model: PreTrainedModel, trunk: nn.Module) -> Generator[None]:
    """Inside, windows and chunks are of a few tokens."""
    holders: list[Any] = [text_config(model), *trunk.modules()]
    changed: list[tuple[Any, str, int]] = []
    for holder in holders:
        for name in _WINDOWS:
            value = holder.__dict__.get(name)
            if isinstance(value, int) and value > _SHORT:
                changed.append((holder, name, value))
                setattr(holder, name, _SHORT)
    try:
        yield
    finally:
        for holder, name, value in changed:
            setattr(holder, name, value)
