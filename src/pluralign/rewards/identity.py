"""Identity of rewards in files and cards: names, files that identify them, and what they were trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from pluralign.core.digests import digest, file_digest, source_digest
from pluralign.core.files import read_json
from pluralign.core.function_digests import function_digest
from pluralign.core.jsonl import is_object
from pluralign.folders.card import CARD, model_files
from pluralign.rewards.endpoint import parse_endpoint
from pluralign.rewards.ensemble import KIND as ENSEMBLE
from pluralign.rewards.ensemble import ensemble_members
from pluralign.rewards.export import CARD_COPY
from pluralign.rewards.function import KIND as FUNCTION
from pluralign.rewards.function import (
    FunctionReward,
    function_neighbours,
    function_source,
    require_no_function,
)
from pluralign.rewards.reward import Reward
from pluralign.rewards.reward_model import RewardModel

Scorer = str | Path | Reward
"""A loaded reward model, or an argument of `load_reward`."""
ENDPOINT = "endpoint"


def reward_card(spec: str) -> Path:
    """The file that identifies a reward, if it has one: the card of its weights, or the source of a function.
    It need not exist."""
    if spec.startswith(f"{FUNCTION}:"):
        return function_source(spec)
    if spec.startswith(f"{ENDPOINT}:"):
        return Path(parse_endpoint(spec).tokenizer or "", CARD_COPY)
    return Path(spec.rpartition(":")[2]) / CARD


def reward_provenance(reward: Scorer | Callable[..., Any]) -> dict[str, Any]:
    """What a reward was trained on: name, method, objective, seed, data and base model from its card, and the
    card's digest, which changes with the weights; for an ensemble, also of each member; for a function
    (`function_digest`) and for a classifier's folder, a digest.

    Args:
        reward: A reward, an argument of `load_reward`, or a function.

    Returns:
        JSON values; empty for a reward without files, such as a classifier from the hub, and for a function
        without source, such as a built-in one.

    Raises:
        InputError: The card cannot be read.
    """
    if isinstance(reward, RewardModel):
        return {"name": reward.name, **_trained_on(asdict(reward.card)), "digest": reward_identity(reward)[1]}
    if isinstance(reward, FunctionReward):
        reward = reward.function
    if not isinstance(reward, str | Path):
        found = "" if isinstance(reward, Reward) else function_digest(reward)
        return {"digest": found} if found else {}
    spec, path = str(reward), reward_card(str(reward))
    if not path.is_file() and not spec.startswith(f"{FUNCTION}:"):
        # An exported folder has a copy of the card.
        path = path.with_name(CARD_COPY)
    if not path.is_file():
        return _files_of(spec)
    if spec.startswith(f"{FUNCTION}:"):
        used = [file_digest(one) for one in (path, *function_neighbours(path))]
        return {"digest": used[0] if len(used) == 1 else digest(one.encode() for one in used)}
    content = read_json(path)
    named = {"name": content["name"]} if content.get("name") else {}
    found = {**named, **_trained_on(content), "digest": file_digest(path)}
    if members := _members(spec, path):
        found["members"] = [reward_provenance(member) for member in members]
    return found


def _files_of(spec: str) -> dict[str, str]:
    """Digest of the files of a reward without a card, such as a classifier's folder; empty without files."""
    if spec.startswith((f"{FUNCTION}:", f"{ENDPOINT}:")):
        return {}
    _, *files = reward_identity(spec)
    return {"digest": digest([json.dumps(files).encode()])} if files else {}


def _trained_on(card: dict[str, Any]) -> dict[str, Any]:
    names = ("method", "objective", "seed", "data", "backbone")
    return {name: card[name] for name in names if card.get(name) not in (None, "", {})}


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
    if spec.startswith(f"{FUNCTION}:"):
        used = [card, *function_neighbours(card)] if card.is_file() else []
        return [spec, *map(source_digest, used)]
    if card.is_file():
        return [spec, source_digest(card), *(reward_identity(member)[1:] for member in _members(spec, card))]
    return [spec, *map(source_digest, model_files(card.parent))]


def _members(spec: str, card: Path) -> list[str]:
    """Arguments with which an ensemble's members are opened; none of another reward."""
    content = None if spec.startswith(f"{FUNCTION}:") else read_json(card)
    if not is_object(content) or content.get("pluralign") != ENSEMBLE:
        return []
    members = ensemble_members(card.parent)
    for member in members:
        require_no_function(member)
    return members
