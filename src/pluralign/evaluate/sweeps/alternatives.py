"""Settings of sweeps over prompts: the alternatives to compare, and the generation of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from pluralign.core import InputError, SteeringWeights
from pluralign.core.files import read_json
from pluralign.core.jsonl import Fields
from pluralign.lm.dtypes import DTypeName
from pluralign.options.open import DEFAULT_MODEL

Baseline = Literal["soups", "prompting"]


@dataclass(frozen=True)
class FixedPolicy:
    """A policy trained for one weighting.

    Args:
        label: Name of its side; policies with the same label are points of one side.
        weights: Weights that it was trained for; missing objectives have weight 0.
        folder: Folder of the policy.
    """

    label: str
    weights: SteeringWeights
    folder: Path


@dataclass(frozen=True)
class GuidedModel:
    """The base model, guided by one value model per objective.

    Args:
        strength: Strength of the guidance (`steer.value_guided.Guidance`).
        folders: Folder of each objective's value model.
    """

    strength: float
    folders: Mapping[str, Path]


@dataclass(frozen=True)
class OtherPolicies:
    """Another set of policies, steered in the same way: heads, or policies of another method.

    Args:
        label: Name of the side.
        folders: Folder of each objective's policy; for heads, their folder for each of them.
    """

    label: str
    folders: Mapping[str, Path]


@dataclass(frozen=True)
class Alternatives:
    """Alternatives to steered policies, in addition to the base model.

    Args:
        baselines: ``soups`` averages the policies' weights (Rame et al. 2023); ``prompting`` instructs the
            base model to make the trade-off.
        fixed: Policies that were trained for one weighting each.
        guided: Value models that guide the base model.
        descriptions: Descriptions of objectives, for prompting; by default their names.
        others: Other policies, mixed by the geometric mean.
    """

    baselines: Sequence[Baseline] = ("soups", "prompting")
    fixed: Sequence[FixedPolicy] = ()
    guided: Sequence[GuidedModel] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict[str, str])
    others: Sequence[OtherPolicies] = ()


@dataclass(frozen=True)
class Writing:
    """Settings of text generation.

    Args:
        model: Base model of the policies: smollm2-135m, a hub id or a local folder.
        max_new_tokens: Largest number of tokens of a text.
        temperature: Sampling temperature; 0 selects the most likely token.
        template: Template of prompts that are messages, ``dialogue`` or ``chat``; by default the policies'
            own.
        dtype: Precision of the models.
        control_tokens: Whether prompts that are texts may contain control tokens by name.
    """

    model: str = DEFAULT_MODEL
    max_new_tokens: int = 64
    temperature: float = 1.0
    template: str | None = None
    dtype: DTypeName = "auto"
    control_tokens: bool = False


def read_sides(path: str | Path) -> tuple[list[FixedPolicy], list[GuidedModel], list[OtherPolicies]]:
    """Read a JSON file of sides: ``fixed`` policies, each with ``label``, ``weights`` and ``folder``,
    ``guided`` models, each with ``strength`` and ``folders``, and ``others``, each with ``label`` and
    ``folders``. Lists may be absent.

    Raises:
        InputError: The file is invalid; the error names the file, the number of the entry in its list, and
            the field.
    """
    row: Any = read_json(path)
    if not isinstance(row, dict):
        raise InputError(f"expected an object with {_LISTS}", path=path)
    content = cast("dict[str, Any]", row)
    if unknown := sorted(set(content) - {"fixed", "guided", "others"}):
        raise InputError(f"expected only {_LISTS}", path=path, field=unknown[0])
    fixed = [_fixed_policy(entry) for entry in _entries(content, "fixed", Path(path))]
    guided = [_guided_model(entry) for entry in _entries(content, "guided", Path(path))]
    others = [_other_policies(entry) for entry in _entries(content, "others", Path(path))]
    return fixed, guided, others


_LISTS = "the lists 'fixed', 'guided' and 'others'"


def _entries(row: Mapping[str, Any], name: str, path: Path) -> list[Fields]:
    given: Any = row.get(name, [])
    found = cast("list[Any]", given if isinstance(given, list) else [given])
    if not all(isinstance(one, dict) for one in found):
        raise InputError(f"expected a list of objects, found {given!r:.60}", path=path, field=name)
    return [Fields(one, path, number) for number, one in enumerate(found, start=1)]


def _fixed_policy(entry: Fields) -> FixedPolicy:
    _require_only(entry, ("label", "weights", "folder"))
    if not entry.get("label", str):
        raise entry.fail("label", "must not be empty")
    try:
        weights = SteeringWeights(entry.numbers("weights"))
    except InputError as error:
        raise entry.fail(error.field or "weights", error.message) from error
    return FixedPolicy(entry.get("label", str), weights, Path(entry.get("folder", str)))


def _guided_model(entry: Fields) -> GuidedModel:
    _require_only(entry, ("strength", "folders"))
    return GuidedModel(entry.finite("strength"), _folders(entry))


def _other_policies(entry: Fields) -> OtherPolicies:
    _require_only(entry, ("label", "folders"))
    if not entry.get("label", str):
        raise entry.fail("label", "must not be empty")
    return OtherPolicies(entry.get("label", str), _folders(entry))


def _folders(entry: Fields) -> dict[str, Path]:
    return {str(name): Path(str(folder)) for name, folder in entry.get("folders", dict).items()}


def _require_only(entry: Fields, known: Sequence[str]) -> None:
    if unknown := sorted(set(entry.row) - set(known)):
        raise entry.fail(unknown[0], f"expected only {', '.join(known)}")
