"""Cached features on disk: safetensors shards that are written atomically."""

from __future__ import annotations

import hashlib
import json
import logging
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from pluralign.core import InputError
from pluralign.core.files import replace_when_whole, write_text

_numpy: Any = safetensors.numpy
_log = logging.getLogger(__name__)
_SHARD_DECISIONS = 256
_SHARD_SECONDS = 5.0

Entry = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], npt.NDArray[np.int64]]


def shards_folder(folder: Path, tokenizer: str) -> Path:
    """The folder of a recipe's shards by one tokenizer: that of the recipe for the first one, which is
    recorded there, and for what version 0.1 wrote; and one beside it for another tokenizer.

    Args:
        folder: Folder of the recipe.
        tokenizer: Digest of the tokenizer.

    Raises:
        InputError: The folder cannot be written.
    """
    record = folder / "tokenizer"
    try:
        if not record.is_file():
            write_text(record, tokenizer)
        return folder if record.read_text() == tokenizer else folder.with_name(f"{folder.name}-{tokenizer}")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error


class FeatureShards:
    """Entries by decision key, appended in shards of ``folder``; a killed run loses at most the last shard.

    Args:
        folder: Folder of one feature recipe.
        dimension: Width d of the features.

    Raises:
        InputError: The folder cannot be made.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder, self._dimension = folder, dimension
        self._pending: dict[str, Entry] = {}
        self._flushed_at = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error
        weakref.finalize(self, _write_shard, folder, self._pending)

    def read(self) -> dict[str, Entry]:
        """All entries. A damaged shard is skipped with a warning, and its entries are computed again."""
        entries: dict[str, Entry] = {}
        for path in sorted(self._folder.glob("*.safetensors")):
            try:
                entries.update(self._read_shard(path))
            except (OSError, SafetensorError, ValueError, KeyError) as error:
                _log.warning("%s: damaged shard of cached features, computed again (%s)", path, error)
        return entries

    def add(self, key: str, entry: Entry) -> None:
        """Add an entry to the next shard."""
        self._pending[key] = entry

    def flush_when_due(self) -> None:
        """Write a shard if enough entries are pending or the last one is a few seconds old."""
        waited = time.monotonic() - self._flushed_at
        if len(self._pending) >= _SHARD_DECISIONS or waited >= _SHARD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the pending entries."""
        _write_shard(self._folder, self._pending)
        self._flushed_at = time.monotonic()

    def _read_shard(self, path: Path) -> dict[str, Entry]:
        opened: Any = safe_open(path, framework="numpy")
        with opened as shard:
            keys: list[str] = json.loads(shard.metadata()["keys"])
            features = shard.get_tensor("features")
            likelihoods, lengths = shard.get_tensor("log_likelihoods"), shard.get_tensor("lengths")
            counts = shard.get_tensor("options")
        rows = len(features)
        if len(counts) != len(keys) or counts.sum() != rows or features.shape[1:] != (self._dimension,):
            raise ValueError("its parts do not match")
        if len(likelihoods) != rows or len(lengths) != rows:
            raise ValueError("its parts do not match")
        stops = counts.cumsum()
        spans = [slice(stop - count, stop) for stop, count in zip(stops, counts, strict=True)]
        return {key: (features[s], likelihoods[s], lengths[s]) for key, s in zip(keys, spans, strict=True)}


def _write_shard(folder: Path, pending: dict[str, Entry]) -> None:
    """Write and clear ``pending``; a function of its own, so that it can run at exit."""
    if not pending:
        return
    keys = list(pending)
    columns = list(zip(*pending.values(), strict=True))
    name = hashlib.blake2b("".join(keys).encode(), digest_size=12).hexdigest()
    with replace_when_whole(folder / f"{name}.safetensors") as temporary:
        _numpy.save_file(
            {
                "features": np.concatenate(columns[0]),
                "log_likelihoods": np.concatenate(columns[1]),
                "lengths": np.concatenate(columns[2]),
                "options": np.array([len(entry[1]) for entry in pending.values()], dtype=np.int64),
            },
            temporary,
            metadata={"keys": json.dumps(keys)},
        )
    pending.clear()
