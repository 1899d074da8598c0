"""Settings for every test."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import shape_checks
from forks import ForkServer, import_libraries
from hypothesis import HealthCheck, settings

_ROOMS = ("losses", "lm", "rewards", "options", "learn", "steer", "evaluate")

# What modules under the hook import would be compiled again: its cache of bytecode is another one. A process
# that only hands out the tests to its workers imports nothing, and they start seconds earlier.
if "--dist" not in sys.argv or "PYTEST_XDIST_WORKER" in os.environ:
    import_libraries()

# Shapes such as Float[Tensor, "pairs options"] are checked at every call while the tests run.
shape_checks.install([f"pluralign.{room}" for room in _ROOMS])

# The machines that run the tests are shared: a slow example is no fault.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


_MANY = 100
_imported = 0


def pytest_collection_finish() -> None:
    """See `_leave_out_imports`."""
    _leave_out_imports()


def _leave_out_imports() -> None:
    """Leave what imports have made out of collections of garbage: each training run asks for several."""
    global _imported
    gc.collect()
    gc.freeze()
    _imported = len(sys.modules)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    # Much is imported where it is first used.
    if len(sys.modules) > _imported + _MANY:
        _leave_out_imports()
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU (CUDA)")


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs scripts in processes of their own."""
    server = ForkServer(tmp_path_factory.mktemp("forks"), hash_seed=1)
    yield server
    server.close()


@pytest.fixture(scope="session")
def other_forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs scripts in processes where sets have another order: what resumes a run must not depend on it."""
    server = ForkServer(tmp_path_factory.mktemp("forks"), hash_seed=2)
    yield server
    server.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`shared/data` next to or inside the checkout; the test is skipped where there is none."""
    root = Path(__file__).resolve().parents[1]
    for folder in (root.parent / "shared" / "data", root / "shared" / "data"):
        if folder.is_dir():
            return folder
    pytest.skip("the shared data is absent")
