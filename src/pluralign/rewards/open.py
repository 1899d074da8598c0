"""Loading of rewards: by folder, closed form, classifier name, endpoint or function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pluralign.core import InputError
from pluralign.core.checks import checked
from pluralign.folders.card import CARD, read_card
from pluralign.folders.tuned import Bases, base_key, load_base, load_language_policy, trained_above
from pluralign.lm.backbone import resolve_dtype
from pluralign.lm.device import use_device
from pluralign.lm.dtypes import DTypeName
from pluralign.lm.endpoint_settings import usable_url
from pluralign.rewards.classifier import load_classifier
from pluralign.rewards.endpoint import open_endpoint_reward, parse_endpoint
from pluralign.rewards.ensemble import KIND as ENSEMBLE
from pluralign.rewards.ensemble import load_ensemble
from pluralign.rewards.function import KIND as FUNCTION
from pluralign.rewards.function import function_place, open_function, require_no_function
from pluralign.rewards.identity import ENDPOINT, Scorer
from pluralign.rewards.likelihood_ratio import LikelihoodRatio
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import KIND as REWARD_MODEL
from pluralign.rewards.reward_model import RewardSettings, load_reward_model

CLOSED_FORM, CLASSIFIER = "closed-form", "classifier"


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
    have the base model in common. Weights in common must not be trained further.

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
