"""Losses as arguments: their description on cards, and checks of their signature and result."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pluralign.core import InputError
from pluralign.core.jsonl import plain
from pluralign.learn.methods import method_of
from pluralign.learn.run_folder import own_source
from pluralign.learn.texts.data import Batch
from pluralign.lm.tensors import to_list
from pluralign.losses.contrastive import label_expectation


def describe_loss(loss: Callable[..., Tensor], arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Name and settings of a loss, for the card of the trained model.

    Args:
        loss: A function, or a `functools.partial` of one.
        arguments: Names of the positional arguments.

    Returns:
        The method's name for a loss of pluralign, otherwise module and name of the function; and the values
        of its other parameters, defaults included, with the digest of a function of one's own.

    Raises:
        InputError: The loss cannot be called with these arguments, or a setting cannot be written to the
            card.
    """
    function, given = loss, dict[str, Any]()
    while isinstance(function, functools.partial):
        if function.args:
            raise InputError(
                "settings of a loss must be keyword arguments: partial(loss, tau=0.1)", field="loss"
            )
        given = {**function.keywords, **given}
        function = function.func
    try:
        signature = inspect.signature(loss)
        bound = signature.bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a function of {', '.join(arguments)}, found {loss!r:.80} ({error})", field="loss"
        ) from error
    free = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if name not in bound.arguments and parameter.default is not inspect.Parameter.empty
    }
    name = str(getattr(function, "__name__", type(function).__name__))
    module = str(getattr(function, "__module__", ""))
    ours = module.startswith("pluralign.losses")
    method = method_of(name) if ours else f"{module}.{name}" if module else name
    settings = {key: _plain(key, value) for key, value in {**free, **given}.items()}
    return method, {**settings, **own_source("loss", function)}


def over_labels(loss: Callable[[], Tensor], flipped: Callable[[], Tensor], batch: Batch) -> Tensor:
    """A batch's part of the step's loss, as expectation over labels that may be wrong.

    Args:
        loss: Function that computes the loss of each pair as labelled, shape (rows,).
        flipped: Function that computes the loss with chosen and rejected exchanged; called only if a label
            may be wrong.
        batch: Rows, with the probability that each label is right.

    Raises:
        InputError: The loss has another shape, so it cannot be weighted by labels.
    """
    losses = loss()
    if losses.shape != batch.weights.shape:
        raise _not_of_pairs(len(batch.weights), losses.shape)
    if bool((batch.weights == 1).all()):
        return losses.mean() * batch.share
    return label_expectation(losses, flipped(), batch.weights) * batch.share


@torch.enable_grad()
def check_loss(loss: Callable[..., object], arguments: Sequence[str]) -> None:
    """Call a loss once with made-up numbers, so that errors are found before training starts.

    Args:
        loss: Loss of each pair.
        arguments: Names of the positional arguments; the first two depend on the model.

    Raises:
        InputError: The loss raises an error, does not return one finite number per pair, or does not depend
            on the first two arguments.
    """
    # Three pairs, so that the shape of a loss per pair differs from that of their mean.
    values = [torch.tensor([1.0, 2.0, 3.0]) + 0.25 * i for i in range(len(arguments))]
    learned = [value.requires_grad_() for value in values[:2]]
    try:
        found = loss(*values)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"fails when called: {type(error).__name__}: {error}", field="loss") from error
    if not isinstance(found, Tensor) or found.shape != values[0].shape:
        raise _not_of_pairs(len(values[0]), getattr(found, "shape", type(found).__name__))
    gradients = (
        torch.autograd.grad(found.sum(), learned, allow_unused=True) if found.requires_grad else [None]
    )
    if any(gradient is None for gradient in gradients):
        raise InputError(f"does not depend on {arguments[0]} and {arguments[1]}", field="loss")
    if not bool(torch.isfinite(found).all()):
        raise InputError(
            f"is not finite when called with {to_list(values[0])}: {to_list(found)}", field="loss"
        )


def _not_of_pairs(pairs: int, shape: Any) -> InputError:
    found = tuple(shape) if isinstance(shape, torch.Size) else shape
    return InputError(
        f"expected one loss for each of {pairs} pairs, found shape {found}; do not average over pairs",
        field="loss",
    )


def _plain(name: str, value: Any) -> Any:
    if callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    try:
        return json.loads(json.dumps(value, default=plain))
    except (InputError, TypeError) as error:
        raise InputError(
            f"the setting {name!r} cannot be written to the card: {value!r:.60}", field="loss"
        ) from error
