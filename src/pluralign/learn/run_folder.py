"""Which run trains in an output folder: recorded before training, and checked when a run continues."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pluralign.core import InputError
from pluralign.core.files import read_json, require_free, write_json
from pluralign.core.function_digests import function_digest
from pluralign.core.jsonl import is_object, json_text
from pluralign.learn.engine import processes

_CHECKPOINTS = "checkpoints"
_RECORD = Path(_CHECKPOINTS, "run.json")
SOURCE = "_source"
"""End of the names of settings that are digests of functions and rewards; 0.1.0 recorded none."""
_TOKENIZER = "backbone.tokenizer"
"""Setting that 0.1.0 did not record either."""


def own_source(name: str, function: Callable[..., Any]) -> dict[str, str]:
    """Entry of a run's settings that identifies a user's function by more than its name.

    Args:
        name: Name of the setting.
        function: The function; those of pluralign are known by name.

    Returns:
        ``{NAME_source: DIGEST}``; empty for functions of pluralign, and where there is no source.
    """
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    if str(getattr(inner, "__module__", "")).startswith("pluralign."):
        return {}
    found = function_digest(function)
    return {f"{name}{SOURCE}": found} if found else {}


def claim_folder(out: Path, run: Mapping[str, Any]) -> None:
    """Record in ``out/checkpoints/run.json`` which run trains there, before training begins.

    Raises:
        InputError: The folder holds another run, or other files.
    """
    with processes().main_process_first():
        if not check_folder(out, run):
            write_json(Path(out) / _RECORD, _plain(run))


def release_folder(out: Path) -> None:
    """Leave a folder to other runs again, since the run that claimed it failed before it had a result."""
    (Path(out) / _RECORD).unlink(missing_ok=True)


def check_folder(out: Path, run: Mapping[str, Any]) -> bool:
    """Whether a folder is that of this run already; nothing is written.

    Raises:
        InputError: The folder holds another run, or other files.
    """
    out, wanted = Path(out), _plain(run)
    if not (out / _RECORD).exists():
        # A run that was killed before it wrote its record leaves an empty folder of checkpoints.
        require_free(out, ignored=[_CHECKPOINTS])
        return False
    found = read_json(out / _RECORD)
    if not is_object(found):
        raise InputError("not the record of a training run", path=out / _RECORD)
    # A model is known by its fingerprint, whatever it is called here.
    added = {key for key in wanted if key.endswith(SOURCE) or key == _TOKENIZER} - set(found)
    keys = {*found, *wanted} - added - {"backbone.name"}
    changed = sorted(key for key in keys if found.get(key) != wanted.get(key))
    if changed:
        details = "; ".join(f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}" for key in changed)
        raise InputError(f"holds another run ({details}); choose another folder", path=out)
    return True


def _plain(run: Mapping[str, Any]) -> dict[str, Any]:
    return _flat(json.loads(json_text(run)))


def _flat(run: dict[str, Any]) -> dict[str, Any]:
    """Nested fields by dotted names, so that a difference is reported field by field."""
    flat: dict[str, Any] = {}
    for key, value in run.items():
        inner = _flat(value) if is_object(value) else None
        flat |= {key: value} if inner is None else {f"{key}.{name}": part for name, part in inner.items()}
    return flat
