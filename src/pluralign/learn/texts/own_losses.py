"""Losses as arguments: what a card says of one, and what is checked of its result."""

from __future__ import annotations

import functools
import inspect
import json
import re
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import field, make_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from pluralign.core import InputError
from pluralign.learn.texts.data import Batch
from pluralign.losses.contrastive import label_expectation


def describe_loss(loss: Callable[..., Tensor], arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Name and settings of a loss, for the card of what it trains.

    Args:
        loss: A function, or a `functools.partial` of one.
        arguments: What it is called with, by position.

    Returns:
        The function's name, with its module where it is not one of pluralign's; and its other parameters'
        values, defaults included.

    Raises:
        InputError: It cannot be called with these arguments.
    """
    function, given = loss, dict[str, Any]()
    while isinstance(function, functools.partial):
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
    if not module.startswith("pluralign.losses"):
        name = f"{module}.{name}" if module else name
    return name, {key: _plain(value) for key, value in {**free, **given}.items()}


def loss_settings(loss: Callable[..., Tensor]) -> type[Any]:
    """A frozen dataclass of a loss's keyword parameters, with their defaults and their documentation."""
    parameters = [
        (name, parameter.default)
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    made = make_dataclass(
        f"{loss.__name__.title()}Settings",
        [(name, type(default), field(default=default)) for name, default in parameters],
        frozen=True,
    )
    described = inspect.getdoc(loss) or ""
    names = "|".join(name for name, _ in parameters)
    lines = re.findall(rf"^    (?:{names}):.*(?:\n        .*)*", described, re.MULTILINE) if names else []
    made.__doc__ = "\n".join([f"Settings of {loss.__name__}.", "", "Args:", *lines])
    return made


def over_labels(loss: Callable[[], Tensor], flipped: Callable[[], Tensor], batch: Batch) -> Tensor:
    """A batch's part of the step's loss, expected over labels that may be wrong.

    Args:
        loss: Computes the loss of each pair as labelled, shape (rows,).
        flipped: Computes it with chosen and rejected exchanged; called only where a label may be wrong.
        batch: The rows, with the probability that each label is right.

    Raises:
        InputError: The loss is of another shape, so that labels cannot be weighed.
    """
    losses = loss()
    if losses.shape != batch.weights.shape:
        raise InputError(
            f"expected a loss for each of {len(batch.weights)} pairs, found the shape {tuple(losses.shape)}; "
            "return the losses without taking their mean",
            field="loss",
        )
    if bool((batch.weights == 1).all()):
        return losses.mean() * batch.share
    return label_expectation(losses, flipped(), batch.weights) * batch.share


@contextmanager
def folder_or_temporary(out: str | Path | None) -> Generator[Path]:
    """The folder to write, or one that is removed afterwards where nobody asked for one."""
    if out is not None:
        yield Path(out)
        return
    with tempfile.TemporaryDirectory(prefix="pluralign-") as folder:
        yield Path(folder)


def _plain(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return repr(value)
