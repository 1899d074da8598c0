"""Where the shared data lies, when it does."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`shared/data` beside or inside the checkout; skips where there is none."""
    root = Path(__file__).resolve().parents[2]
    for folder in (root.parent / "shared" / "data", root / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("the shared data is absent")
