"""Settings for every test."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

_ROOMS = ("losses", "lm", "rewards", "options", "learn", "steer", "evaluate")

# Shapes such as Float[Tensor, "pairs options"] are checked at every call while the tests run.
install_import_hook([f"pluralign.{room}" for room in _ROOMS], "shape_checks.check_shapes")

# The machines that run the tests are shared: a slow example is no fault.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`shared/data` next to or inside the checkout; the test is skipped where there is none."""
    root = Path(__file__).resolve().parents[1]
    for folder in (root.parent / "shared" / "data", root / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("the shared data is absent")
