import sys
from pathlib import Path

import pytest

from pluralign.collect.chooser import PolicyChooser
from pluralign.collect.collector import collect
from pluralign.core import UniformPolicy

# Tests are collected in importlib mode, which puts no folder on the path.
sys.path.insert(0, str(Path(__file__).parents[1] / "collect"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Sixty random episodes of a small game."""
    # After the path is set.
    from collect_fakes import SCORE, TowerGame

    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    collect(
        TowerGame,
        PolicyChooser(UniformPolicy()),
        path,
        episodes=60,
        seed=0,
        objectives=[SCORE],
        progress=False,
    )
    return path
