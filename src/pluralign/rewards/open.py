"""Loading of rewards: by folder, closed form, classifier name, endpoint or function."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.core.digests import digest, file_digest, source_digest
from pluralign.core.files import read_json
from pluralign.core.jsonl import is_object
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import Bases, base_key, load_base, load_language_policy, trained_above
from pluralign.lm.backbone import resolve_dtype
from pluralign.lm.device import use_device
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import usable_url
from pluralign.rewards.classifier import load_classifier
from pluralign.rewards.endpoint import open_endpoint_reward, parse_endpoint
from pluralign.rewards.ensemble import KIND as ENSEMBLE
from pluralign.rewards.ensemble import ensemble_members, load_ensemble
from pluralign.rewards.export import CARD_COPY
from pluralign.rewards.function import KIND as FUNCTION
from pluralign.rewards.function import function_place, function_source, open_function, require_no_function
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import KIND as REWARD_MODEL
from pluralign.rewards.reward_model import RewardModel, RewardSettings, load_reward_model

Scorer = str | Path | Reward
"""A loaded reward model, or an argument of `load_reward`."""
CLOSED_FORM, CLASSIFIER, ENDPOINT = "closed-form", "classifier", "endpoint"
_CLASSIFIER_FILES = (".safetensors", ".bin", ".json")


@checked
def load_reward(
    spec: str | Path, *, dtype: DTypeName | torch.dtype = "float32", model: str | None = None,
    device: str | None = None,
) -> Reward:  # fmt: skip
    """Load a reward of completions.

    Args:
        spec: Folder of a reward model or an ensemble; ``closed-form:DIR`` for the likelihood ratio between a
            trained policy and its base model; ``classifier:NAME`` (or only NAME) for the folder or hub id of
            a sequence classifier; ``endpoint:URL`` for a sequence classifier that vLLM serves (several URLs
            separated by commas, options after "?": `RewardEndpoint`); ``function:FILE.py:NAME`` or
            ``function:PACKAGE.MODULE:NAME`` for a function of your own (`FunctionReward`), which is imported
            and runs here.
        dtype: Floating-point type of the trunks; endpoints and functions have none here.
        model: Hub id or folder of the base model, if it was moved.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.

    Raises:
        InputError: Nothing of that kind exists, or the contents of a folder are damaged.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> _ = pl.fit_reward(pl.load_pairs(rows, "agreement"), model="tiny-random", out="reward")
        >>> pl.load_reward("reward").score(["Say", "Say"], [" yes", " no"]).shape
        (2,)
    """
    with use_device(device):
        return _load(str(spec), _floating(dtype), model, None)


@checked
def load_rewards(
    rewards: Mapping[str, Scorer], *, dtype: DTypeName | torch.dtype = "float32", model: str | None = None,
    device: str | None = None,
) -> dict[str, Reward]:  # fmt: skip
    """Load several rewards. Reward models that trained the uppermost layers of one base model have the layers
    below in common: they are in memory once, and computed once where all score the same texts. Closed forms
    have the base model in common. What is in common is not to be trained further.

    Args:
        rewards: For each name an argument of `load_reward`, or a loaded reward, which is kept as it is.
        dtype: Floating-point type of the trunks; endpoints and functions have none here.
        model: Hub id or folder of the base model, if it was moved.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.

    Raises:
        InputError: See `load_reward`.

    Examples:
        >>> import pluralign as pl
        >>> rows = [{"prompt": f"Say {i}:", "chosen": " yes", "rejected": " no"} for i in range(8)]
        >>> pairs = pl.load_pairs(rows, "agreement")
        >>> training = pl.Training(layers=1)
        >>> for seed in (1, 2):
        ...     _ = pl.fit_reward(pairs, model="tiny-random", training=training, seed=seed, out=f"r{seed}")
        >>> rewards = pl.load_rewards({"one": "r1", "other": "r2"})
        >>> {name: reward.score(["Say"], [" yes"]).shape for name, reward in rewards.items()}
        {'one': (1,), 'other': (1,)}
    """
    for own in rewards.values():
        if isinstance(own, str | Path):
            # A mistake in the last one is found before the first one is loaded.
            require_reward(own)
    bases: Bases = {}
    with use_device(device):
        return {
            name: _load(str(own), _floating(dtype), model, bases) if isinstance(own, str | Path) else own
            for name, own in rewards.items()
        }


def shared_trunk(spec: str | Path) -> tuple[Any, ...] | None:
    """Equal for folders of reward models whose lower layers `load_rewards` loads once; None for a reward
    that shares nothing.

    Raises:
        InputError: The folder's card cannot be read.
    """
    if not (Path(spec) / CARD).is_file():
        return None
    content = read_card(Path(spec))
    if content["pluralign"] != REWARD_MODEL or not trained_above(content):
        return None
    return *base_key(content), content.get("max_length")


@checked
def load_closed_form(
    policy: str | Path, *, ends: bool = False, dtype: DTypeName | torch.dtype = "float32",
    model: str | None = None, device: str | None = None,
) -> LikelihoodRatio:  # fmt: skip
    """Load the likelihood ratio between a trained policy and its base model, a reward without training.

    Args:
        policy: Folder of the policy.
        ends: Whether the token that ends a completion counts as well; see `LikelihoodRatio`.
        dtype: Floating-point type of both models.
        model: Hub id or folder of the base model, if it was moved.
        device: Device: "cpu", "cuda", "cuda:1" or "mps"; by default the GPU (CUDA) if there is one.

    Raises:
        InputError: The folder holds no policy, or its contents are damaged.

    Examples:
        >>> import pluralign as pl
        >>> shown = [pl.Demonstration(f"Say {i}:", " yes", objective="agreement") for i in range(8)]
        >>> _ = pl.learn.fit_sft(shown, pl.learn.Run("tiny-random", "sft"))
        >>> pl.load_closed_form("sft").score(["Say", "Say"], [" yes", " no"]).shape
        (2,)
    """
    with use_device(device):
        return _closed_form(Path(policy), _floating(dtype), model, {}, ends)


def _floating(dtype: DTypeName | torch.dtype) -> torch.dtype:
    dtype = dtype if isinstance(dtype, torch.dtype) else resolve_dtype(dtype)
    if not dtype.is_floating_point:
        raise InputError(f"must be a floating-point type, found {dtype}", field="dtype")
    return dtype


def _load(spec: str, dtype: torch.dtype, model: str | None, bases: Bases | None) -> Reward:
    require_reward(spec)
    kind, colon, place = spec.partition(":")
    if colon and kind == CLOSED_FORM:
        return _closed_form(Path(place), dtype, model, {} if bases is None else bases)
    if colon and kind == ENDPOINT:
        if model is not None:
            raise InputError("does not apply to an endpoint", field="model")
        return open_endpoint_reward(spec)
    if colon and kind == FUNCTION:
        if model is not None:
            raise InputError("does not apply to a function", field="model")
        return open_function(spec)
    if colon and kind == CLASSIFIER:
        return _classifier(place, dtype, model)
    folder = Path(spec)
    if not (folder / CARD).is_file():
        return _classifier(spec, dtype, model)
    found = read_card(folder)["pluralign"]
    if found == ENSEMBLE:
        common: Bases = {} if bases is None else bases
        return load_ensemble(folder, lambda member: _member(str(member), dtype, model, common))
    if found == "language_policy":
        raise InputError(f"is a policy; its reward is {CLOSED_FORM}:{spec}", path=folder)
    return load_reward_model(folder, dtype=dtype, model=model, bases=bases)


def _member(spec: str, dtype: torch.dtype, model: str | None, bases: Bases) -> Reward:
    require_no_function(spec)
    return _load(spec, dtype, model, bases)


def reward_card(spec: str) -> Path:
    """The file that identifies a reward, if it has one: the card of its weights, or the source of a function.
    It need not exist."""
    if spec.startswith(f"{FUNCTION}:"):
        return function_source(spec)
    if spec.startswith(f"{ENDPOINT}:"):
        return Path(parse_endpoint(spec).tokenizer or "", CARD_COPY)
    return Path(spec.rpartition(":")[2]) / CARD


def reward_provenance(spec: str) -> dict[str, Any]:
    """What a reward was trained on: name, method, objective, seed, data and base model from its card, and the
    card's digest, which changes with the weights; for an ensemble, also of each member; for a function, the
    digest of its source.

    Args:
        spec: See `load_reward`.

    Returns:
        JSON values; empty for a reward without a card, such as a classifier from the hub.

    Raises:
        InputError: The card cannot be read.
    """
    path = reward_card(spec)
    if not path.is_file():
        return {}
    if spec.startswith(f"{FUNCTION}:"):
        return {"digest": file_digest(path)}
    content = read_json(path)
    names = ("name", "method", "objective", "seed", "data", "backbone")
    found = {name: content[name] for name in names if content.get(name) not in (None, "", {})}
    found["digest"] = file_digest(path)
    if members := _members(spec, path):
        found["members"] = [reward_provenance(member) for member in members]
    return found


def reward_name(reward: Scorer | Callable[..., Any]) -> str:
    """Name of a reward in files: what `load_reward` takes, its own name, or that of a function."""
    if isinstance(reward, str | Path):
        return str(reward)
    return reward.name if isinstance(reward, Reward) else getattr(reward, "__name__", "function")


def reward_identity(scorer: Scorer | Callable[..., Any]) -> list[Any]:
    """Identity of a reward, for files of its rewards: its name, its card, which includes its training
    figures, and the cards of an ensemble's members; the files of a classifier's folder, which has no card."""
    if isinstance(scorer, RewardModel):
        return [scorer.name, digest([json.dumps(asdict(scorer.card), default=str).encode()])]
    if not isinstance(scorer, str | Path):
        # Neither weights nor functions can be identified, so their rewards are computed in every run.
        return [reward_name(scorer), uuid4().hex]
    spec, card = str(scorer), reward_card(str(scorer))
    if spec.startswith(f"{ENDPOINT}:") and not card.is_file():
        # Only a folder says which weights are served.
        return [spec, uuid4().hex]
    if card.is_file():
        return [spec, source_digest(card), *(reward_identity(member)[1:] for member in _members(spec, card))]
    if spec.startswith(f"{FUNCTION}:") or not card.parent.is_dir():
        return [spec]
    kept = (path for path in sorted(card.parent.iterdir()) if path.suffix in _CLASSIFIER_FILES)
    return [spec, *map(source_digest, kept)]


def _members(spec: str, card: Path) -> list[str]:
    """Arguments with which an ensemble's members are opened; none of another reward."""
    content = None if spec.startswith(f"{FUNCTION}:") else read_json(card)
    if not is_object(content) or content.get("pluralign") != ENSEMBLE:
        return []
    members = ensemble_members(card.parent)
    for member in members:
        require_no_function(member)
    return members


def require_reward(spec: str | Path) -> None:
    """Refuse a reward whose folder or file does not exist or that has a damaged card, without loading it.

    Args:
        spec: See `load_reward`.

    Raises:
        InputError: There is no such folder or file, its card cannot be read, or an endpoint has no usable
            URL.
    """
    kind, colon, place = str(spec).partition(":")
    if colon and kind == FUNCTION:
        function_place(str(spec))
        return
    if colon and kind == ENDPOINT:
        for url in parse_endpoint(str(spec)).settings.urls:
            usable_url(url)
        return
    prefixed = bool(colon) and kind in (CLOSED_FORM, CLASSIFIER)
    name = place if prefixed else str(spec)
    if not name:
        raise InputError(
            f"expected a folder, {CLOSED_FORM}:DIR or {CLASSIFIER}:NAME, found {str(spec)!r}", field="reward"
        )
    folder = Path(name)
    if not folder.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise InputError("no such folder", path=name)
    if folder.is_file():
        raise InputError("is a file; expected the folder of a reward", path=name)
    unknown = folder.is_dir() and not (folder / "config.json").is_file()
    if kind != CLASSIFIER and ((folder / CARD).is_file() or unknown):
        read_card(folder)


def _classifier(name: str, dtype: torch.dtype, model: str | None) -> Reward:
    if model is not None:
        raise InputError("a classifier has no base model of its own", field="model")
    return load_classifier(name, dtype=dtype)


def _closed_form(
    folder: Path, dtype: torch.dtype, model: str | None, bases: Bases, ends: bool = False
) -> LikelihoodRatio:
    content = read_card(folder)
    policy = load_language_policy(folder, dtype=dtype, model=model)
    reference = load_base(folder, content, bases, dtype=dtype, model=model)
    template = str(content.get("template", "dialogue"))
    training: Mapping[str, Any] = content.get("config", {}).get("training", {})
    length = int(training.get("max_length", RewardSettings.max_length))
    return LikelihoodRatio(
        policy,
        reference,
        RewardSettings(length, template, control_tokens=content.get("control_tokens") is True),
        f"{content['name']} closed form",
        ends=ends,
    )
