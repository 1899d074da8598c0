"""A folder that one process works in at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from pluralign.core.errors import InputError

_LOCK = ".in_use"


@contextlib.contextmanager
def only_one_in(folder: str | Path) -> Generator[None]:
    """Keep other processes out of a folder. A process that is killed leaves it free.

    Args:
        folder: The folder, which is created if it does not exist. A file ``.in_use`` stays in it.

    Raises:
        InputError: Another process works there, or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / _LOCK, timeout=0).acquire()
    except Timeout as error:
        raise InputError("another process is working in this folder: let it finish", path=folder) from error
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=folder) from error
    with held:
        yield
