"""The Toll, an assembled story, with and without markers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from zmachine_toll import write_toll

from pluralign.cli.games_candidates import find_candidates
from pluralign.core.files import write_json

Toll = Callable[..., Path]


@pytest.fixture(scope="session")
def toll_candidates(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The Toll's file of candidates."""
    pytest.importorskip("fernz", reason="fernz, which plays Z-machine stories, is not installed")
    path = write_toll(tmp_path_factory.mktemp("toll"))
    # An attack may miss when it is tried, and would not be listed.
    path.with_name("w.txt").write_text("take coin\nnorth\nattack beggar\ngive coin to beggar\nnorth\n")
    side = path.with_name("toll.pluralign.json")
    write_json(side, {"zmachine": "toll.z3", "walkthrough": "w.txt"})
    find_candidates(side, episodes=4, max_steps=8)
    return path.with_name("toll.candidates.json").read_bytes()


@pytest.fixture
def toll(tmp_path: Path, toll_candidates: bytes) -> Toll:
    """Writes The Toll with a side file, and returns the side file's path."""

    def write(
        *,
        prepared: bool = True,
        markers: bool = False,
        time: bool = False,
        inform: bool = False,
        **fields: Any,
    ) -> Path:
        path = write_toll(tmp_path, markers=markers, time=time, inform=inform)
        candidates = path.with_name("toll.candidates.json")
        candidates.unlink(missing_ok=True)
        if prepared:
            candidates.write_bytes(toll_candidates)
        side = path.with_name("toll.pluralign.json")
        write_json(side, {"zmachine": "toll.z3", **fields})
        return side

    return write
