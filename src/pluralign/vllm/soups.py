"""Soups on demand: ``"model": "mix:helpful=0.7,harmless=0.3"`` is an adapter that vLLM loads when it is first
asked for (`folders.soups.soup_adapter`)."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pluralign.core import InputError, SteeringWeights

_log = logging.getLogger(__name__)

PREFIX = "mix:"
"""Beginning of the names of soups."""
POLICIES = "PLURALIGN_POLICIES"
"""Environment variable with the policies' folders, as JSON."""
RUNTIME = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
"""Environment variable without which vLLM asks no resolver."""
_MOST = 1000
"""Largest number of soups of a server."""


class SoupResolver:
    """Resolver of vLLM for names of soups.

    vLLM keeps the last adapters in memory (``--max-loras`` slots and ``--max-cpu-loras``, least recently used
    first out), and reads a soup that has been dropped from its folder again; folders stay until the server
    ends.

    Args:
        policies: Folder of each policy's adapter; None for the model itself, which adds nothing.
        root: Folder of the soups' folders.
        most: Largest number of soups.
    """

    def __init__(self, policies: Mapping[str, str | None], root: Path, most: int = _MOST) -> None:
        self._folders = {name: None if path is None else Path(path) for name, path in policies.items()}
        self._root = root
        self._root.mkdir(parents=True, exist_ok=True)
        self._made: dict[SteeringWeights, Path] = {}
        self._most = most
        self._turn = asyncio.Lock()

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
        """The adapter of a name; None for a name that is no soup, or one that cannot be made."""
        if not lora_name.startswith(PREFIX):
            return None
        try:
            async with self._turn:
                folder = await asyncio.to_thread(self.folder, lora_name)
        except InputError as error:
            _log.error("%s: %s", lora_name, error)
            return None
        requests: Any = import_module("vllm.lora.request")
        # vLLM gives the number.
        return requests.LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    def folder(self, name: str) -> Path:
        """The folder of a soup, made if necessary.

        Raises:
            InputError: The weights are wrong, the adapters cannot be averaged, or there are too many soups.
        """
        from pluralign.folders.soups import soup_adapter  # heavy

        weights = soup_weights(name)
        if weights not in self._made:
            if len(self._made) >= self._most:
                raise InputError(f"this server has made {self._most} soups already", field="model")
            out = Path(tempfile.mkdtemp(dir=self._root))
            try:
                soup_adapter(self._folders, weights, out)
            except BaseException:
                shutil.rmtree(out, ignore_errors=True)
                raise
            self._made[weights] = out
        return self._made[weights]


def soup_weights(name: str) -> SteeringWeights:
    """The weights in the name of a soup.

    Raises:
        InputError: They are no weights, or do not sum to one.
    """
    return SteeringWeights.parse(name.removeprefix(PREFIX))


def register() -> None:
    """Entry point of the group ``vllm.general_plugins``: make soups of the policies in the environment."""
    given = os.environ.get(POLICIES)
    if given is None:
        return
    registry: Any = import_module("vllm.lora.resolver").LoRAResolverRegistry
    root = tempfile.mkdtemp(prefix="pluralign-soups-")
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    resolver: Any = SoupResolver(json.loads(given), Path(root))
    registry.register_resolver("pluralign soups", resolver)
