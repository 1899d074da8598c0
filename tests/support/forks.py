"""Scripts in forks of a warm process: each has a process of its own, without the seconds its imports take."""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Other people's libraries alone: what the script needs of pluralign it imports itself.
_LIBRARIES = ("torch", "transformers.modeling_utils", "peft", "datasets", "matplotlib.figure")


def import_libraries() -> None:
    """Import what most tests need of other people's libraries."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    # accelerate looks for this package before and after every step of an optimizer.
    optimizer = importlib.import_module("accelerate.optimizer")
    optimizer.is_lomo_available = functools.cache(optimizer.is_lomo_available)


class Fork:
    """A script that runs in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the script runs."""
        status = self._folder / "status"
        return int(status.read_text()) if status.exists() else None

    def kill(self) -> None:
        """Kill the process (SIGKILL) unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            if self.poll() is None:
                self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(int(self._when_there("pid", 60)), number)

    def first_line(self, timeout: float = 300) -> str:
        """Wait for the first line that the script prints; what it has printed if it ends without one."""
        out, deadline = self._folder / "out", time.monotonic() + timeout
        while not out.exists() or "\n" not in (text := out.read_text()):
            assert time.monotonic() < deadline, f"no line after {timeout} s"
            if self.poll() is not None:
                return out.read_text()
            time.sleep(0.01)
        return text.splitlines(keepends=True)[0]

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait for the end, at most ``timeout`` seconds."""
        code = int(self._when_there("status", timeout))
        out, errors = ((self._folder / name).read_text() for name in ("out", "errors"))
        return subprocess.CompletedProcess(str(self._folder), code, out, errors)

    def _when_there(self, name: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        while not (self._folder / name).exists():
            assert time.monotonic() < deadline, f"no {name} after {timeout} s"
            time.sleep(0.005)
        return (self._folder / name).read_text()


class ForkServer:
    """A process that has imported the libraries, and forks for each script.

    Args:
        folder: Folder for the scripts' output.
        hash_seed: Seed of the hashes of strings, and so of the order of sets. Processes of one server share
            it; two servers differ, as two processes of a user do.
    """

    def __init__(self, folder: Path, hash_seed: int) -> None:
        self._folder, self._count = folder, 0
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed)}
        environment.pop("PLURALIGN_TOKEN", None)
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, env=environment
        )

    def start(
        self,
        script: Path,
        *arguments: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Fork:
        """Start a script, as ``python SCRIPT ARGUMENTS`` in the folder ``cwd`` would, with further variables
        in its environment.
        """
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        # A script that is killed before it begins has printed nothing.
        for name in ("out", "errors"):
            (folder / name).touch()
        job = {
            "script": str(script),
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or Path.cwd()),
            "folder": str(folder),
            "environment": dict(environment or {}),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return Fork(folder)

    def run(
        self, script: Path, *arguments: object, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return self.start(script, *arguments, cwd=cwd).wait()

    def run_together(
        self,
        script: Path,
        *arguments: object,
        processes: int = 2,
        environment: Mapping[str, str] | None = None,
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run a script in processes that know of each other, as ``torchrun`` would, to their end.

        When one ends with an error, the others are killed.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        size = str(processes)
        common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": size}
        common |= {"LOCAL_WORLD_SIZE": size, **(environment or {})}
        forks = [
            self.start(script, *arguments, environment={**common, "RANK": rank, "LOCAL_RANK": rank})
            for rank in map(str, range(processes))
        ]
        deadline = time.monotonic() + 300
        while any(fork.poll() is None for fork in forks):
            if any(fork.poll() for fork in forks) or time.monotonic() > deadline:
                for fork in forks:
                    if fork.poll() is None:
                        fork.kill()
                break
            time.sleep(0.005)
        return [fork.wait() for fork in forks]

    def close(self) -> None:
        """End the server when its scripts have ended."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


def _serve() -> None:
    import_libraries()
    # Collections of garbage need not look at the libraries again.
    gc.freeze()
    for line in sys.stdin:
        if os.fork() == 0:
            _keep(json.loads(line))
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _keep(job: dict[str, Any]) -> None:
    """Fork once more: this process waits for the script, whatever ends it, and writes its exit code."""
    child = os.fork()
    if child == 0:
        _run(job)
    _write(Path(job["folder"], "pid"), child)
    _, status = os.waitpid(child, 0)
    _write(Path(job["folder"], "status"), os.waitstatus_to_exitcode(status))
    os._exit(0)


def _write(path: Path, number: int) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(str(number))
    draft.rename(path)


def _run(job: dict[str, Any]) -> None:
    for number, path in enumerate((os.devnull, Path(job["folder"], "out"), Path(job["folder"], "errors"))):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(job["cwd"])
    os.environ.update(job["environment"])
    sys.argv = [job["script"], *job["arguments"]]
    sys.path[0] = str(Path(job["script"]).parent)
    runpy.run_path(job["script"], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    _serve()
