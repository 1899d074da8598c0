"""Weights that follow from a prompt or a wish instead of being given: one interface.

A provider suggests weights before a request is made, so whatever mixes policies stays as it is, and each
answer comes with the weights that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

import numpy as np

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json, write_json
from pluralign.core.jsonl import Fields, is_object
from pluralign.core.messages import Prompt
from pluralign.lm.dtypes import DTypeName
from pluralign.steer.kriging import Link
from pluralign.steer.request_weights import WeightsProvider, require_prompts
from pluralign.steer.surrogate import Surrogate, fit_surrogate

if TYPE_CHECKING:
    from pluralign.rewards.prompt_weights import PromptWeights

DIAL, TARGETS, CARD = "dial.json", "targets.json", "card.json"
_KIND, _VERSION = "dial", 1


@final
@dataclass(frozen=True)
class Given:
    """Weights as they are given: the wish, or else constant weights.

    Args:
        weights: Weights where there is no wish.
    """

    weights: SteeringWeights

    @property
    def objectives(self) -> tuple[str, ...]:
        """See `WeightsProvider`."""
        return tuple(self.weights)

    def suggest(
        self, prompts: Sequence[Prompt], wish: SteeringWeights | None = None
    ) -> list[SteeringWeights]:
        """See `WeightsProvider`."""
        require_prompts(prompts)
        if wish is not None:
            wish.require_known(self.objectives)
        return [self.weights if wish is None else wish] * len(prompts)


@final
@dataclass(frozen=True, eq=False)
class Calibrated:
    """Weights whose predicted outcomes are best for a user's wish (`Surrogate.weights_for`).

    Args:
        surrogate: Surrogate of a sweep.

    Examples:
        >>> import pluralign as pl
        >>> grid = pl.simplex_grid(["kind", "brief"], 2)
        >>> dial = pl.Calibrated(pl.fit_surrogate(grid, [[0.0, 1.0], [0.75, 0.75], [1.0, 0.0]]))
        >>> dial.suggest(["Hello!"], pl.SteeringWeights(kind=1.0))[0].to_text()
        'kind=1'
    """

    surrogate: Surrogate

    @property
    def objectives(self) -> tuple[str, ...]:
        """See `WeightsProvider`."""
        return self.surrogate.objectives

    def suggest(
        self, prompts: Sequence[Prompt], wish: SteeringWeights | None = None
    ) -> list[SteeringWeights]:
        """See `WeightsProvider`; the wish is the importance of outcomes, in units of their ranges in the
        sweep. Without one, all are equally important."""
        require_prompts(prompts)
        asked = SteeringWeights.uniform(self.objectives) if wish is None else wish
        return [self.surrogate.weights_for(asked)] * len(prompts)


@final
class Learned:
    """Weights that a model suggests for each prompt (`learn.texts.suggestions`, Preference Orchestrator).

    A wish is a prior: weights are proportional to wish_k times suggestion_k. They are the wish itself where
    the model suggests 0 for all that is wished for.

    Args:
        model: Model that suggests weights.
    """

    def __init__(self, model: PromptWeights) -> None:
        self.model = model

    @property
    def objectives(self) -> tuple[str, ...]:
        """See `WeightsProvider`."""
        return self.model.objectives

    def suggest(
        self, prompts: Sequence[Prompt], wish: SteeringWeights | None = None
    ) -> list[SteeringWeights]:
        """See `WeightsProvider`."""
        require_prompts(prompts)
        prior = np.ones(len(self.objectives)) if wish is None else wish.aligned_to(self.objectives)
        found = self.model.weights(prompts) * prior
        found = np.where(found.any(axis=1, keepdims=True), found, prior)
        shares = found / found.sum(axis=1, keepdims=True)
        return [SteeringWeights(dict(zip(self.objectives, row, strict=True))) for row in shares.tolist()]


@final
@dataclass(frozen=True, eq=False)
class Wished:
    """A provider with a user's wish.

    Args:
        provider: Provider of weights.
        wish: The wish, for requests without one of their own.
    """

    provider: WeightsProvider
    wish: SteeringWeights

    @property
    def objectives(self) -> tuple[str, ...]:
        """See `WeightsProvider`."""
        return self.provider.objectives

    def suggest(
        self, prompts: Sequence[Prompt], wish: SteeringWeights | None = None
    ) -> list[SteeringWeights]:
        """See `WeightsProvider`."""
        return self.provider.suggest(prompts, self.wish if wish is None else wish)


AUTO, WISH = "auto:", "wish:"


def open_weights(text: str) -> WeightsProvider:
    """Open the weights that an option of the command line names.

    Args:
        text: ``NAME=NUMBER,NAME=NUMBER``; ``auto:DIR``, the suggestions of a folder (`open_provider`); or
            ``wish:DIR:NAME=NUMBER,NAME=NUMBER``, its suggestions for a wish.

    Raises:
        InputError: The text is none of these, the folder holds no provider, or the wish names an unknown
            objective.
    """
    if text.startswith(AUTO):
        return open_provider(text.removeprefix(AUTO))
    if text.startswith(WISH):
        folder, colon, wish = text.removeprefix(WISH).rpartition(":")
        if not colon or not folder:
            raise InputError(f"expected wish:DIR:NAME=NUMBER,..., found {text!r}", field="weights")
        provider, wanted = open_provider(folder), SteeringWeights.parse(wish)
        wanted.require_known(provider.objectives)
        return Wished(provider, wanted)
    return Given(SteeringWeights.parse(text))


def weights_folder(text: str) -> Path | None:
    """Folder that the weights of `open_weights` come from; None for numbers."""
    if text.startswith(WISH):
        return Path(text.removeprefix(WISH).rpartition(":")[0])
    return Path(text.removeprefix(AUTO)) if text.startswith(AUTO) else None


def open_provider(folder: str | Path, *, dtype: DTypeName = "auto") -> WeightsProvider:
    """Open a folder that suggests weights.

    Args:
        folder: Folder of a calibrated dial; of a model that suggests weights (`learn weights`); or of
            `pluralign targets`, whose weights are suggested where there is no wish.
        dtype: Precision of the trunk of a model that suggests weights.

    Raises:
        InputError: The folder holds no provider of weights, or targets that weights do not meet.
    """
    if (Path(folder) / CARD).is_file():
        # Other providers need no model.
        from pluralign.lm.backbone import resolve_dtype
        from pluralign.rewards.prompt_weights import load_prompt_weights

        return Learned(load_prompt_weights(folder, dtype=resolve_dtype(dtype)))
    targets = Path(folder) / TARGETS
    if not targets.is_file():
        return Calibrated(load_dial(folder))
    row = read_json(targets)
    weights = row.get("weights") if is_object(row) else None
    if not is_object(weights):
        raise InputError(
            "has no weights: the targets cannot be met, or are met without steering", path=targets
        )
    return Given(SteeringWeights(weights))


def constant_weights(text: str) -> SteeringWeights:
    """Weights that an option of the command line names, where they cannot depend on a prompt.

    Args:
        text: Weights, as for `open_weights`.

    Raises:
        InputError: See `open_weights`; or the weights depend on prompts.
    """
    provider = open_weights(text)
    if depends_on_prompts(provider):
        raise InputError("depend on the prompt, and there is one mix for all here", field="weights")
    return provider.suggest([""])[0]


def depends_on_prompts(provider: WeightsProvider) -> bool:
    """Whether a provider suggests other weights for other prompts."""
    return isinstance(provider.provider if isinstance(provider, Wished) else provider, Learned)


def save_dial(surrogate: Surrogate, folder: Path, source: dict[str, Any]) -> Path:
    """Write the evaluated points of a surrogate to a folder, and return the file.

    Args:
        surrogate: The surrogate.
        folder: Folder of the dial.
        source: Sweep that the points are from, and its side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / DIAL,
        {
            "pluralign": _KIND, "version": _VERSION, "objectives": list(surrogate.objectives),
            "link": surrogate.link, "weightings": surrogate.weightings.tolist(),
            "outcomes": surrogate.outcomes.tolist(), "r2": surrogate.r2(), "source": source,
        },
    )  # fmt: skip
    return folder / DIAL


def load_dial(folder: str | Path) -> Surrogate:
    """Read a surrogate that `save_dial` wrote.

    Args:
        folder: Folder of the dial, or its file.

    Raises:
        InputError: There is no dial, or its points do not determine one; the error names the file.
    """
    path = Path(folder) / DIAL if Path(folder).is_dir() else Path(folder)
    row = read_json(path)
    if not is_object(row) or row.get("pluralign") != _KIND or row.get("version") != _VERSION:
        raise InputError("expected a dial that `pluralign calibrate` wrote", path=path)
    fields = Fields(row, path, 1)
    names, link = list(fields.texts("objectives")), fields.get("link", str)
    if link not in get_args(Link):
        raise fields.fail("link", f"expected {', '.join(get_args(Link))}, found {link!r}")
    try:
        rows = [[float(x) for x in own] for own in fields.get("weightings", list)]
        weightings = [SteeringWeights(dict(zip(names, own, strict=True))) for own in rows]
        outcomes = np.array([[float(x) for x in own] for own in fields.get("outcomes", list)])
        return fit_surrogate(weightings, outcomes, objectives=names, link=link)
    except (TypeError, ValueError) as error:
        raise InputError(f"is no dial ({error})", path=path) from error
